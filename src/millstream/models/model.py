"""A model: its noise schedule, and the three networks that turn prompts and pictures into pictures."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from millstream.core.rows import Conditioning
from millstream.core.schedule import NoiseSchedule, Rule
from millstream.models.codec import Codec
from millstream.models.denoiser import UNetDenoiser
from millstream.models.text import Conditioner
from millstream.params import Blend


@dataclass(frozen=True)
class Model:
    """What the engine runs. `width` and `height` are the picture size the model was trained on."""

    name: str
    schedule: NoiseSchedule
    rule: Rule
    width: int
    height: int
    device: torch.device
    dtype: torch.dtype
    denoiser: UNetDenoiser
    conditioner: Conditioner
    codec: Codec

    @property
    def multiple(self) -> int:
        """Sides of pictures must be multiples of this, in pixels."""
        return self.codec.factor * self.denoiser.factor

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return self.codec.channels

    @property
    def factor(self) -> int:
        """Pixels along the side of one latent cell."""
        return self.codec.factor

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The networks of a tick; the text encoder is none of them."""
        return self.denoiser, self.codec.vae

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the configuration and all weights of `parts`, adapters with them; about a second a gigabyte."""
        configs = [network.config.items() for network in (self.denoiser.unet, self.codec.vae)]
        facts = [[item for item in config if not item[0].startswith("_")] for config in configs]  # not where it lies
        found = blake2b(repr(facts).encode(), digest_size=16)
        for name, value in nn.ModuleList(self.parts).state_dict().items():
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return found.hexdigest()

    def denoise(
        self, x: Float[Tensor, "rows c h w"], t: Float[Tensor, "rows"], cond: Conditioning
    ) -> Float[Tensor, "rows c h w"]:
        """Predict, in the model's own numbers. See `millstream.core.rows.Denoiser`."""
        prediction: Tensor = self.denoiser(x, t, cond)
        return prediction

    def condition(self, prompt: Blend, guidance_scale: float = 1.0) -> Conditioning:
        """One row of conditioning for a prompt or a blend of prompts. See `millstream.models.text.Conditioner`."""
        return self.conditioner(prompt, guidance_scale)

    def encode(self, pixels: UInt8[Tensor, "frames h w 3"]) -> Float[Tensor, "frames c h_ w_"]:
        """Clean latents of pictures, float32."""
        return self.codec.encode(pixels)

    def decode(self, latents: Float[Tensor, "frames c h w"]) -> UInt8[Tensor, "frames h_ w_ 3"]:
        """Pictures of clean latents."""
        return self.codec.decode(latents)
