"""Pictures to latents and back, through AutoencoderKL, AutoencoderTiny or AutoencoderDC."""

import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny
from jaxtyping import Float, UInt8
from torch import Tensor


class Codec:
    """An autoencoder with its scale. Pixels are RGB, 0 to 255; latents are those the denoiser works in."""

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny | AutoencoderDC) -> None:
        self.vae = vae
        self.scale: float = vae.config.scaling_factor
        self.shift: float = vae.config.get("shift_factor") or 0.0

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return int(self.vae.config.latent_channels)

    @property
    def factor(self) -> int:
        """Pixels along the side of one latent cell: every level but the first halves the picture."""
        config = self.vae.config
        levels = config.block_out_channels if isinstance(self.vae, AutoencoderKL) else config.encoder_block_out_channels
        return int(2 ** (len(levels) - 1))

    def encode(self, pixels: UInt8[Tensor, "frames h w 3"]) -> Float[Tensor, "frames c h_ w_"]:
        """Give clean latents in float32: the mean of the posterior, never a sample."""
        signal = pixels.to(self.vae.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents: Tensor = (self._mean(signal.to(self.vae.dtype)).float() - self.shift) * self.scale
        return latents

    def decode(self, latents: Float[Tensor, "frames c h w"]) -> UInt8[Tensor, "frames h_ w_ 3"]:
        """Give pixels, rounded and clamped to 0..255. Latents that are no numbers give pixels that mean nothing."""
        code = latents.float() / self.scale + self.shift
        signal: Tensor = self.vae.decode(code.to(self.vae.dtype)).sample
        pixels = ((signal.float() + 1) * 127.5).round().clamp(0, 255)
        return pixels.permute(0, 2, 3, 1).byte()

    def _mean(self, signal: Float[Tensor, "frames 3 h w"]) -> Tensor:
        code = self.vae.encode(signal)
        if isinstance(self.vae, AutoencoderKL):
            return torch.as_tensor(code.latent_dist.mean)
        return torch.as_tensor(code.latents if isinstance(self.vae, AutoencoderTiny) else code.latent)
