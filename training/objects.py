"""The drawings of the objects of the scenes (training.things): `python -m training.icons` draws them into FILE."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training import pack

FILE = pack.WORK / "objects.npz"
SIDE = 256  # pixels of a drawing's longer side
LEVELS = 4  # sizes kept of each, a factor of sqrt(2) apart

Rgba8 = NDArray[np.uint8]  # (h, w, 4), colours multiplied by alpha


def premultiplied(drawing: NDArray[np.uint8]) -> Rgba8:
    """Colours times alpha, so that resampling and blurring mix no colour from where there is nothing."""
    alpha = drawing[..., 3:].astype(np.float32) / 255
    return np.dstack([np.rint(drawing[..., :3] * alpha).astype(np.uint8), drawing[..., 3]])


@cache
def load() -> dict[str, tuple[Rgba8, ...]]:
    """Every object at LEVELS sizes, the largest first."""
    with np.load(FILE) as drawings:
        return {name: pyramid(pack.decode(drawings[name])) for name in drawings.files}


def pyramid(drawing: Rgba8) -> tuple[Rgba8, ...]:
    """The drawing and smaller copies: warps with bilinear weights alias where they shrink by much more than 1.4."""
    scales = [2 ** (-level / 2) for level in range(LEVELS)]
    return tuple(cv2.resize(drawing, None, fx=s, fy=s, interpolation=cv2.INTER_AREA) for s in scales)
