"""Where a model runs, and in which numbers."""

import torch

from millstream.errors import ModelError


def devices() -> list[str]:
    """The devices of this machine, the fastest first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def choose_device(name: str) -> torch.device:
    """Find the device `name`, or the fastest for `auto`. Raises ModelError where this machine has no such device."""
    present = devices()
    wanted = {"auto": present[0], "cuda": "cuda:0"}.get(name, name)
    if wanted not in present:
        raise ModelError(f"device {name}: not on this machine, which has {', '.join(present)}")
    return torch.device(wanted)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Numbers for `name`; `auto` is float32 on a CPU, which has no fast half precision, and else float16."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    dtype: torch.dtype = getattr(torch, name)
    return dtype
