"""Flat shapes with soft edges, painted on a canvas in place.

Positions and lengths are shares of the picture's side, x to the right and y down; colours are six hexadecimal digits.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 256
SUBPIXEL = 4  # bits after the point in OpenCV's coordinates

Canvas = NDArray[np.uint8]  # (SIDE, SIDE, 3), RGB
Points = Sequence[tuple[float, float]] | NDArray[np.float64]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of six hexadecimal digits."""
    red, green, blue = bytes.fromhex(colour)
    return red, green, blue


def sky(top: str, bottom: str) -> Canvas:
    """A fresh canvas, one colour flowing into another downwards."""
    share = np.linspace(0, 1, SIDE)[:, None]
    rows = (1 - share) * rgb(top) + share * rgb(bottom)
    return np.ascontiguousarray(np.broadcast_to(np.rint(rows).astype(np.uint8)[:, None], (SIDE, SIDE, 3)))


def fixed(points: Points) -> NDArray[np.int32]:
    """Shares of the side as OpenCV's fixed-point coordinates."""
    return np.asarray(np.rint(np.asarray(points) * SIDE * 2**SUBPIXEL), np.int32)


def polygon(canvas: Canvas, points: Points, colour: str) -> None:
    """A filled polygon."""
    cv2.fillPoly(canvas, [fixed(points)], rgb(colour), cv2.LINE_AA, SUBPIXEL)


def box(canvas: Canvas, edges: tuple[float, float, float, float], colour: str) -> None:
    """A filled upright rectangle with those left, top, right and bottom edges."""
    left, top, right, bottom = edges
    polygon(canvas, [(left, top), (right, top), (right, bottom), (left, bottom)], colour)


def oval(canvas: Canvas, centre: tuple[float, float], axes: tuple[float, float], colour: str) -> None:
    """A filled ellipse with those half axes."""
    middle, half = fixed([centre, axes]).tolist()
    cv2.ellipse(canvas, middle, half, 0, 0, 360, rgb(colour), -1, cv2.LINE_AA, SUBPIXEL)


def disc(canvas: Canvas, x: float, y: float, radius: float, colour: str) -> None:
    """A filled circle."""
    oval(canvas, (x, y), (radius, radius), colour)


def hills(canvas: Canvas, y: float, wave: tuple[float, float, float], colour: str) -> None:
    """Everything below a rolling line about `y`; `wave` is its height, periods across and phase."""
    height, periods, phase = wave
    x = np.linspace(0, 1, 65)
    line = y - height * np.sin(2 * np.pi * (periods * x + phase))
    polygon(canvas, np.concatenate([np.stack([x, line], axis=1), [(1, 1.1), (0, 1.1)]]), colour)


def cloud(canvas: Canvas, x: float, y: float, size: float, colour: str = "ffffff") -> None:
    """Three discs on a flat base."""
    for dx, dy, radius in ((-0.55, 0.1, 0.32), (0, -0.12, 0.45), (0.55, 0.08, 0.35)):
        disc(canvas, x + dx * size, y + dy * size, radius * size, colour)
    box(canvas, (x - 0.6 * size, y + 0.1 * size, x + 0.6 * size, y + 0.42 * size), colour)


def fir(canvas: Canvas, foot: tuple[float, float], height: float, colour: str, cap: str) -> None:
    """Three tiers on a trunk, the top one in the colour `cap`."""
    x, y = foot
    box(canvas, (x - 0.05 * height, y - 0.2 * height, x + 0.05 * height, y), "5a4334")
    for tier, shade in enumerate((colour, colour, cap)):
        base, wide = y - (0.15 + 0.24 * tier) * height, (0.3 - 0.06 * tier) * height
        polygon(canvas, [(x - wide, base), (x, base - 0.4 * height), (x + wide, base)], shade)


def peak(canvas: Canvas, x: float, top: float, foot: float, colour: str) -> None:
    """A mountain, its right side in shade, with snow on top."""
    wide = 0.75 * (foot - top)
    polygon(canvas, [(x - wide, foot), (x, top), (x + wide, foot)], colour)
    high, low = top + 0.22 * (foot - top), top + 0.32 * (foot - top)
    edge = [(x - 0.165 * (foot - top), high), (x - 0.06, low), (x, high), (x + 0.06, low)]
    polygon(canvas, [(x, top), *edge, (x + 0.165 * (foot - top), high)], "ffffff")
