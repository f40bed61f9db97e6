"""Stochastic similarity filter: still frames are skipped by chance (StreamDiffusion, arXiv 2312.12491, section 3.4).

Equation 9: P(skip) = max(0, (S - eta)/(1 - eta)). The paper's cosine is blind to scale, so that a fade to black has
S = 1; here S is the cosine times the ratio of the two norms, which is the same where brightness does not change.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from millstream.frame import Pixels

SMALL = 64  # side of the copy on which frames are compared


class SimilarityFilter:
    """Decides frame by frame; skipped are only frames that have not been taken in, never those in flight."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._reference: Float[Tensor, "3 h w"] | None = None
        self._skipped = 0

    def skip(self, pixels: Pixels, threshold: float, max_skip: int) -> bool:
        """Whether to skip this frame. A frame that is not skipped becomes the reference.

        `threshold` is eta, 0 <= eta < 1. After `max_skip` consecutive skips a frame is processed.
        """
        small = shrink(pixels)
        chance = self._chance(small, threshold)
        draw = float(torch.rand((), generator=self._generator))
        if draw < chance and self._skipped < max_skip:
            self._skipped += 1
            return True
        self._reference, self._skipped = small, 0
        return False

    def reset(self) -> None:
        """Forget the reference, so that the next frame is processed: a new prompt shows on a still scene."""
        self._reference, self._skipped = None, 0

    def _chance(self, small: Tensor, threshold: float) -> float:
        if self._reference is None:
            return 0.0
        return max(0.0, (similarity(self._reference, small) - threshold) / (1 - threshold))


def shrink(pixels: Pixels) -> Float[Tensor, "3 h w"]:
    """A small float32 copy, 0 to 1, on which frames are compared."""
    picture = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255
    height, width = (min(SMALL, side) for side in picture.shape[2:])
    return interpolate(picture, size=(height, width), mode="area")[0]


def similarity(u: Float[Tensor, "3 h w"], v: Float[Tensor, "3 h w"]) -> float:
    """Cosine times the ratio of norms, 0 to 1. Two black pictures are alike; pictures of two sizes are not."""
    if u.shape != v.shape:
        return 0.0
    u, v = u.double().flatten(), v.double().flatten()  # float32 sums put a picture's likeness to itself 2e-5 off 1
    larger = max(float(u @ u), float(v @ v))
    return float(u @ v) / larger if larger else 1.0
