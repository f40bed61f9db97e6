"""Noise from a seed: the same on every device, for every stage and frame, in any order of asking."""

from hashlib import blake2b

import torch
from jaxtyping import Float
from torch import Tensor


def stage_noise(seed: int, stages: int, shape: tuple[int, int, int]) -> Float[Tensor, "stages c h w"]:
    """Gaussian noise of each stage, drawn once and kept. Stage i does not depend on how many stages follow.

    Drawn on the CPU whatever the device, so that a seed gives the same picture everywhere. A seed is 0 to 2**32 - 1:
    torch's CPU generator takes no more of it.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(shape, generator=generator) for _ in range(stages)])


def frame_noise(seed: int, frame: int, stage: int, shape: tuple[int, int, int]) -> Float[Tensor, "c h w"]:
    """A frame's own noise at a stage; a function of its arguments alone, so that a replay gives it again."""
    digest = blake2b(f"{seed}/{frame}/{stage}".encode(), digest_size=4).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest))
    return torch.randn(shape, generator=generator)


def mix_noise(base: Tensor, own: Tensor, correlation: float) -> Tensor:
    """sqrt(lambda)*base + sqrt(1 - lambda)*own: unit variance, correlation lambda between two frames.

    The noise half of VideoFusion (arXiv 2303.08320, equation 5).
    """
    if correlation == 1:
        return base
    mixed: Tensor = correlation**0.5 * base + (1 - correlation) ** 0.5 * own
    return mixed
