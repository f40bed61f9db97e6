"""A model without networks worth the name, quick enough for property tests, and a plain loop over it.

Pictures are latents in 8 bits. The denoiser is `oracle.toy`'s: non-linear, it mixes channels and pixels, never rows.
"""

from dataclasses import dataclass, field
from functools import cache
from time import sleep
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from millstream.core.noise import stage_noise
from millstream.core.schedule import NoiseSchedule, levels_from_strength
from millstream.frame import Frame
from millstream.params import Params
from tests import oracle

SIDE = 16
LIMIT = 120.0  # seconds: generous, for machines with other work
CPU = torch.device("cpu")


@dataclass(frozen=True)
class ToyModel:
    """What the engine asks of a model; predicts the clean picture."""

    name: str = "toy"
    gain: float = 1.0  # of the network; NaN for a model whose numbers are no picture
    schedule: NoiseSchedule = field(
        default_factory=lambda: NoiseSchedule.from_alphas_cumprod(oracle.scaled_linear(), "sample")
    )
    rule: str = "lcm"
    width: int = SIDE
    height: int = SIDE
    channels: int = 3
    factor: int = 1
    multiple: int = 8
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    judged: bool = False

    def condition(self, prompt, guidance_scale=1.0, size=None):
        return {name: value.float() for name, value in oracle.embed(crc32(repr(prompt).encode())).items()}

    def encode(self, pixels: Tensor) -> Tensor:
        return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1

    def denoise(self, x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        return self.gain * oracle.toy(x, t, cond)

    def decode(self, latents: Tensor) -> Tensor:
        return ((latents + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Slow(ToyModel):
    """A row takes a pause, in seconds."""

    pause: float = 0.005

    def denoise(self, x: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        sleep(self.pause * len(x))
        return super().denoise(x, t, cond)


@cache
def picture(number: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)


def frame(number: int, side: int = SIDE) -> Frame:
    return Frame(number, picture(number, side), float(number))


@cache
@torch.inference_mode()
def alone(model: ToyModel, number: int, params: Params, steps: int) -> np.ndarray:
    """One picture through all its stages by the equations of LCM, without rows or coefficients."""
    noise = stage_noise(params.seed, steps, (3, SIDE, SIDE))
    cond = model.condition(params.prompt)
    z = model.encode(torch.from_numpy(picture(number))[None])[0]
    for i, level in enumerate(levels_from_strength(steps, params.strength, "lcm")):
        a, b = float(model.schedule.a[level]), float(model.schedule.b[level])
        x = a * z + b * noise[i]
        clean = model.denoise(x[None], torch.tensor([float(level)]), cond)[0]
        scaled = 10.0 * level
        z = scaled / (scaled**2 + 0.25) ** 0.5 * clean + 0.25 / (scaled**2 + 0.25) * x
    return model.decode(z[None])[0].numpy()
