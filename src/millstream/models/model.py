"""A model: its noise schedule, and the three networks that turn prompts and pictures into pictures."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from millstream import embedded
from millstream.backends.store import Store
from millstream.core.rows import Conditioning
from millstream.core.schedule import NoiseSchedule, Rule
from millstream.models.outline import Outline, pack
from millstream.models.text import Conditioner
from millstream.params import Blend

if TYPE_CHECKING:  # a start from the cache does without them, and without the libraries behind them
    from millstream.models.codec import Codec
    from millstream.models.denoiser import UNetDenoiser

FACTS = ("name", "rule", "width", "height", "channels", "factor", "multiple")


@dataclass(frozen=True)
class Networks:
    """What computes a tick, in the model's numbers and on its device."""

    denoiser: "UNetDenoiser"
    codec: "Codec"

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The networks of a tick; the text encoder is none of them."""
        return self.denoiser, self.codec.vae

    def denoise(
        self, x: Float[Tensor, "rows c h w"], t: Float[Tensor, "rows"], cond: Conditioning
    ) -> Float[Tensor, "rows c h w"]:
        """Predict, in the model's own numbers. See `millstream.core.rows.Denoiser`."""
        prediction: Tensor = self.denoiser(x, t, cond)
        return prediction

    def encode(self, pixels: UInt8[Tensor, "frames h w 3"]) -> Float[Tensor, "frames c h_ w_"]:
        """Clean latents of pictures, float32."""
        return self.codec.encode(pixels)

    def decode(self, latents: Float[Tensor, "frames c h w"]) -> UInt8[Tensor, "frames h_ w_ 3"]:
        """Pictures of clean latents."""
        return self.codec.decode(latents)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of their configuration and all their weights, adapters with them; about a second a gigabyte."""
        configs = [network.config.items() for network in (self.denoiser.unet, self.codec.vae)]
        facts = [[item for item in config if not item[0].startswith("_")] for config in configs]  # not where it lies
        found = blake2b(repr(facts).encode(), digest_size=16)
        for name, value in nn.ModuleList((self.denoiser, self.codec.vae)).state_dict().items():
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return found.hexdigest()


class Loader:
    """Loads networks once, when they are first asked for. `done` tells whether that was so."""

    def __init__(self, load: Callable[[], Networks]) -> None:
        self._load = load
        self._lock = Lock()
        self.done: Future[Networks] = Future()

    def __call__(self) -> Networks:
        """Give the networks; from any thread. Raises ModelError where they cannot be loaded."""
        with self._lock:
            if not self.done.done():
                self.done.set_result(self._load())
        return self.done.result()


def loaded(networks: Networks) -> Loader:
    """A loader of networks that are there."""
    loader = Loader(lambda: networks)
    loader()
    return loader


@dataclass(frozen=True)
class Model:
    """What the engine runs.

    `width` and `height` are the picture size it was trained on, in pixels, and sides must be multiples of `multiple`.
    A latent has `channels`, and its cells are `factor` pixels wide. `key` names in the engine cache what a start does
    without the networks (see `outline`), and `known_print` is from there.
    """

    name: str
    schedule: NoiseSchedule
    rule: Rule
    width: int
    height: int
    channels: int
    factor: int
    multiple: int
    device: torch.device
    dtype: torch.dtype
    conditioner: Conditioner
    networks: Loader
    key: str | None
    known_print: str | None

    @property
    def judged(self) -> bool:
        """Whether its pictures in 8-bit integers passed the gates of those in float32 (docs/embedded-model.md)."""
        return self.name == embedded.NAME

    @property
    def denoiser(self) -> "UNetDenoiser":
        """The UNet."""
        return self.networks().denoiser

    @property
    def codec(self) -> "Codec":
        """The autoencoder."""
        return self.networks().codec

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """See `Networks.parts`."""
        return self.networks().parts

    @property
    def fingerprint(self) -> str:
        """Hash that stands for all numbers of a tick. See `Networks.fingerprint`."""
        return self.known_print or self.networks().fingerprint

    def keep(self, store: Store) -> None:
        """Keep beside the engines what the next start does without the networks."""
        if self.key and self.known_print is None:
            store.get(self.key, f"{self.name}, for a quick start", lambda: pack(self._outline()))

    def _outline(self) -> Outline:
        facts = {name: getattr(self, name) for name in FACTS}
        return Outline(facts | {"known_print": self.fingerprint}, self.schedule, self.conditioner)

    def denoise(
        self, x: Float[Tensor, "rows c h w"], t: Float[Tensor, "rows"], cond: Conditioning
    ) -> Float[Tensor, "rows c h w"]:
        """See `Networks.denoise`."""
        return self.networks().denoise(x, t, cond)

    def condition(
        self, prompt: Blend, guidance_scale: float = 1.0, size: tuple[int, int] | None = None
    ) -> Conditioning:
        """One row of conditioning for a prompt or a blend of prompts, and pictures of this width and height.

        Without a size, those the model was trained on. See `millstream.models.text.Conditioner`.
        """
        return self.conditioner(prompt, guidance_scale, size or (self.width, self.height))

    def encode(self, pixels: UInt8[Tensor, "frames h w 3"]) -> Float[Tensor, "frames c h_ w_"]:
        """See `Networks.encode`."""
        return self.networks().encode(pixels)

    def decode(self, latents: Float[Tensor, "frames c h w"]) -> UInt8[Tensor, "frames h_ w_ 3"]:
        """See `Networks.decode`."""
        return self.networks().decode(latents)
