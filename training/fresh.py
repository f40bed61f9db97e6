"""Scenes drawn anew while the network learns from those before: who sees each too often learns it by heart."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from training import latents


class Fresh(NamedTuple):
    """Scenes with their drawings and covers, and whose places in the bank they take: tensors, to share memory."""

    places: Int[Tensor, "n"]
    pictures: UInt8[Tensor, "n 2 h w 3"]
    covers: UInt8[Tensor, "n side side"]


def fresh(step: int, count: int) -> Fresh:
    """Those of step `step`, `count` a step: round by round through all latents.SCENES."""
    numbers = range(step * count, (step + 1) * count)
    made = [latents.drawn(number % latents.SCENES, 1 + number // latents.SCENES) for number in numbers]
    pictures, covers = (torch.from_numpy(np.stack(part)) for part in zip(*made, strict=True))
    return Fresh(torch.tensor(numbers) % latents.SCENES, pictures, covers)
