"""Where a model comes from: its files, or what the engine cache keeps of it."""

import torch

from millstream.backends.store import Store
from millstream.memory import check_model
from millstream.models.device import choose_device, choose_dtype
from millstream.models.model import Loader, Model
from millstream.models.outline import cache_key, unpack
from millstream.params import ModelConfig


def load_model(config: ModelConfig, store: Store | None = None) -> Model:
    """Give the model that `config` names, on its device and in its numbers; `store` is the engine cache.

    Where a tick of it was built before, its networks are loaded when they are first needed, which may be never.
    Raises ModelError, in one line that names the cure, where files are missing, unreadable or of an unknown kind, or
    do not fit into memory.
    """
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    key = cache_key(config, device, dtype)
    store = store or Store()
    kept = store.find(key) if key else None
    if key is None or kept is None:
        return _whole(config, device, dtype, key)
    outline = unpack(kept, device)
    return Model(
        schedule=outline.schedule,
        conditioner=outline.conditioner,
        device=device,
        dtype=dtype,
        networks=Loader(lambda: _whole(config, device, dtype, key).networks()),
        key=key,
        **outline.facts,
    )


def _whole(config: ModelConfig, device: torch.device, dtype: torch.dtype, key: str | None) -> Model:
    check_model(config, device, dtype)
    from millstream.models.load import load  # noqa: PLC0415  # diffusers and transformers: seconds

    return load(config, device, dtype, key)
