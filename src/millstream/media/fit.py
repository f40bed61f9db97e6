"""Bring a picture to the model's size, and choose that size."""

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from millstream.frame import Frame, Pixels


def fit(pixels: Pixels, width: int, height: int) -> Pixels:
    """Crop the centre to the aspect ratio and resize it so that it covers width x height. Identity when it fits.

    Pillow, because its Lanczos filter widens with the reduction (no aliasing), it works on uint8 in place of floats,
    and it averages whole blocks first where the reduction is large.
    """
    rows, columns = pixels.shape[:2]
    if (columns, rows) == (width, height):
        return pixels
    scale = min(columns / width, rows / height)
    left, top = (columns - width * scale) / 2, (rows - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS, box, reducing_gap=3.0)
    return np.array(resized)


def fit_frame(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame with its picture brought to (width, height)."""
    return replace(frame, pixels=fit(frame.pixels, *size))


def matching_size(width: int, height: int, area: int, multiple: int) -> tuple[int, int]:
    """Give the (width, height) in multiples of `multiple` with the nearest aspect ratio and about `area` pixels.

    Of the roundings of the exact size up and down, the one of nearest aspect ratio, then of nearest area. No side is
    below `multiple`, and a picture too narrow for that keeps the area and gives up the ratio.
    """
    widest = max(1.0, area / multiple**2)
    aspect = min(max(width / height, 1 / widest), widest)
    exact = math.sqrt(area * aspect) / multiple, math.sqrt(area / aspect) / multiple
    sizes = [(w * multiple, h * multiple) for w in _roundings(exact[0]) for h in _roundings(exact[1])]
    return min(sizes, key=lambda size: (_apart(size[0] / size[1], aspect), _apart(size[0] * size[1], area)))


def _roundings(value: float) -> set[int]:
    return {max(1, math.floor(value)), max(1, math.ceil(value))}


def _apart(a: float, b: float) -> float:
    # Rounded, so that ratios equal but for the last bit leave the choice to the area.
    return round(abs(math.log(a / b)), 9)
