"""The places of the scenes, painted flat: bands, hills and simple shapes, each with its own layout and colours.

A painter is given random numbers, or None for the canonical picture; with them hills and clouds move a little and the
colours shift by a few percent.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from training.brushes import SIDE, Canvas, box, cloud, disc, fir, hills, oval, peak, polygon, sky

TINT = 0.05  # the most that a channel is stronger or weaker

Luck = Generator | None


def near(rng: Luck, value: float, spread: float) -> float:
    """`value`, or with random numbers something within `spread` of it."""
    return value if rng is None else value + float(rng.uniform(-spread, spread))


def scatter(rng: Luck, index: int, spread: float) -> tuple[float, float]:
    """Point `index` of an even cover of the unit square: multiples of the plastic number's powers (Roberts 2018)."""
    return near(rng, 0.754878 * index % 1, spread), near(rng, 0.569840 * index % 1, spread)


def beach(rng: Luck) -> Canvas:
    """Sky and sun, a turquoise sea, pale sand."""
    canvas = sky("6ec6f2", "d9f3fc")
    disc(canvas, near(rng, 0.82, 0.06), near(rng, 0.15, 0.03), 0.085, "ffe066")
    cloud(canvas, near(rng, 0.22, 0.08), near(rng, 0.14, 0.03), 0.13)
    box(canvas, (0, 0.42, 1, 1), "1fa3c9")
    box(canvas, (0, 0.5, 1, 1), "35bfd4")
    shift = near(rng, 0.1, 0.3)
    for y, colour in ((0.6, "e9fbfb"), (0.625, "f7e2ad"), (0.8, "efd394")):
        hills(canvas, y, (0.018, 1.5, shift + y), colour)
    return canvas


def meadow(rng: Luck) -> Canvas:
    """Blue sky with clouds, two green hills, flowers."""
    canvas = sky("8fd0f7", "e2f5fd")
    cloud(canvas, near(rng, 0.2, 0.08), near(rng, 0.17, 0.03), 0.15)
    cloud(canvas, near(rng, 0.8, 0.08), near(rng, 0.24, 0.03), 0.12)
    hills(canvas, near(rng, 0.58, 0.02), (0.06, 0.9, near(rng, 0.1, 0.15)), "a5db73")
    hills(canvas, near(rng, 0.7, 0.02), (0.05, 0.8, near(rng, 0.6, 0.15)), "7cc24f")
    for index, colour in enumerate(("ffffff", "ffd84d", "ff8fb8") * 4):
        x, y = scatter(rng, index + 2, 0.03)
        disc(canvas, x, 0.79 + 0.19 * y, 0.014, colour)
    return canvas


def desert(rng: Luck) -> Canvas:
    """A glowing sky, a low sun, red rocks behind three dunes."""
    canvas = sky("ffb65c", "fff0c9")
    disc(canvas, near(rng, 0.25, 0.06), near(rng, 0.3, 0.03), 0.11, "fff7dc")
    left = near(rng, 0.62, 0.05)
    polygon(canvas, [(left - 0.03, 0.7), (left, 0.38), (left + 0.24, 0.38), (left + 0.28, 0.7)], "c4623f")
    box(canvas, (left + 0.3, 0.46, left + 0.36, 0.7), "c4623f")
    for y, waves, colour in ((0.6, 0.9, "efb566"), (0.72, 0.7, "e09a4b"), (0.86, 0.8, "cb7f38")):
        hills(canvas, y, (0.045, waves, near(rng, y * 1.7, 0.12)), colour)
    return canvas


def snow(rng: Luck) -> Canvas:
    """A pale violet sky, snowy hills, firs with snow on them, flakes."""
    canvas = sky("9fb0e0", "dfe6f7")
    hills(canvas, near(rng, 0.56, 0.02), (0.05, 0.8, near(rng, 0.35, 0.12)), "c9d9f2")
    for x, foot, height in ((0.1, 0.66, 0.3), (0.25, 0.69, 0.2), (0.9, 0.68, 0.34), (0.74, 0.68, 0.18)):
        fir(canvas, (near(rng, x, 0.03), foot), height, "4f8f8b", "f4f8ff")
    hills(canvas, near(rng, 0.69, 0.015), (0.035, 0.7, near(rng, 0.9, 0.12)), "e6effb")
    for index in range(24):
        disc(canvas, *scatter(rng, index, 0.02), 0.011, "ffffff")
    return canvas


def forest(rng: Luck) -> Canvas:
    """Two rows of tall firs before a green haze, a dark floor."""
    canvas = sky("dcefc4", "a8d49b")
    for row, (foot, colour) in enumerate(((0.72, "86bb8a"), (0.79, "3d8159"))):
        for index, height in enumerate((0.62, 0.48, 0.58, 0.5, 0.6)[row:]):
            x = (index + 0.5 * row) / 4
            fir(canvas, (near(rng, x, 0.03), foot), near(rng, height + 0.08 * row, 0.03), colour, colour)
    hills(canvas, 0.76, (0.015, 1.5, near(rng, 0.2, 0.2)), "58803a")
    hills(canvas, 0.9, (0.015, 1.2, near(rng, 0.7, 0.2)), "47692f")
    return canvas


def city(rng: Luck) -> Canvas:
    """Two rows of towers with lit windows under a pink sky, a road."""
    canvas = sky("f4a9b8", "fde3d4")
    for index, height in enumerate((0.34, 0.5, 0.4, 0.58, 0.44, 0.52, 0.36)):
        left = -0.06 + 0.16 * index
        box(canvas, (left, 0.78 - near(rng, height, 0.04), left + 0.16, 0.8), "c79fc4")
    for index, height in enumerate((0.42, 0.26, 0.36, 0.22, 0.46)):
        _tower(canvas, 0.01 + 0.21 * index, near(rng, height, 0.04))
    box(canvas, (0, 0.78, 1, 1), "4d5068")
    box(canvas, (0, 0.78, 1, 0.81), "9a9db3")
    start = near(rng, 0.05, 0.1)
    for index in range(-1, 5):
        box(canvas, (start + 0.25 * index, 0.89, start + 0.25 * index + 0.13, 0.915), "f5f5f5")
    return canvas


def _tower(canvas: Canvas, left: float, height: float) -> None:
    box(canvas, (left, 0.78 - height, left + 0.15, 0.8), "6d6a9c")
    for y in np.arange(0.78 - height + 0.04, 0.72, 0.07):
        for x in (left + 0.025, left + 0.09):
            box(canvas, (x, y, x + 0.035, y + 0.035), "ffe08a")


def sea(rng: Luck) -> Canvas:
    """Under water: shafts of light, bubbles, weed on a sandy floor."""
    canvas = sky("5fd9d3", "114a86")
    for x in (0.15, 0.45, 0.75):
        _shaft(canvas, near(rng, x, 0.06))
    for index in range(9):
        x, y = scatter(rng, index, 0.03)
        disc(canvas, x, 0.05 + 0.75 * y, 0.012 + 0.004 * (index % 4), "c4f3f5")
    hills(canvas, near(rng, 0.87, 0.01), (0.02, 1.2, near(rng, 0.3, 0.2)), "d9c48a")
    for x in (0.07, 0.16, 0.85, 0.94):
        _weed(canvas, near(rng, x, 0.02), near(rng, 0.3, 0.06))
    return canvas


def _shaft(canvas: Canvas, x: float) -> None:
    """A slanting beam, a quarter white at the top and nothing at its foot."""
    beam = canvas.copy()
    polygon(beam, [(x, 0), (x + 0.1, 0), (x - 0.05, 0.8), (x - 0.25, 0.8)], "ffffff")
    share = np.linspace(0.25, -0.06, SIDE).clip(0)[:, None, None]
    canvas[:] = np.rint(canvas + share * (beam.astype(np.float32) - canvas)).astype(np.uint8)


def _weed(canvas: Canvas, x: float, height: float) -> None:
    y = np.linspace(0.95, 0.95 - height, 16)
    sway = x + 0.018 * np.sin((0.95 - y) * 40)
    wide = 0.018 * (y - y[-1]) / height + 0.004
    outline = np.concatenate([np.stack([sway - wide, y], axis=1), np.stack([sway + wide, y], axis=1)[::-1]])
    polygon(canvas, outline, "1f9d6b")


def mountains(rng: Luck) -> Canvas:
    """Peaks with snow before a clear sky, a lake, a dark shore."""
    canvas = sky("7fa6d9", "eaf3fb")
    peak(canvas, near(rng, 0.85, 0.04), near(rng, 0.26, 0.03), 0.68, "8f9fbf")
    peak(canvas, near(rng, 0.2, 0.04), near(rng, 0.18, 0.03), 0.68, "7c8db0")
    peak(canvas, near(rng, 0.55, 0.04), near(rng, 0.07, 0.03), 0.68, "66779c")
    box(canvas, (0, 0.66, 1, 1), "4a90c2")
    box(canvas, (0, 0.71, 1, 0.722), "7db7dc")
    hills(canvas, 0.81, (0.02, 1.1, near(rng, 0.4, 0.2)), "55704a")
    return canvas


def room(rng: Luck) -> Canvas:
    """A warm wall with a picture and a lamp, a skirting board, a wooden floor with a rug."""
    canvas = sky("f2d9b5", "f6e3c6")
    for index in range(8):
        box(canvas, (0.125 * index, 0, 0.125 * index + 0.05, 0.7), "eed0a8")
    left = near(rng, 0.1, 0.03)
    box(canvas, (left, 0.12, left + 0.24, 0.36), "8a5a3c")
    box(canvas, (left + 0.025, 0.145, left + 0.215, 0.335), "bfe3ee")
    polygon(canvas, [(left + 0.025, 0.335), (left + 0.11, 0.21), (left + 0.215, 0.335)], "6fae8f")
    x = near(rng, 0.84, 0.03)
    box(canvas, (x - 0.01, 0, x + 0.01, 0.14), "7a5a4a")
    polygon(canvas, [(x - 0.05, 0.13), (x + 0.05, 0.13), (x + 0.11, 0.27), (x - 0.11, 0.27)], "e2725b")
    box(canvas, (0, 0.7, 1, 0.74), "ffffff")
    box(canvas, (0, 0.74, 1, 1), "b3794a")
    for y in (0.8, 0.87, 0.94):
        box(canvas, (0, y, 1, y + 0.008), "99643a")
    oval(canvas, (near(rng, 0.5, 0.03), 0.88), (0.4, 0.075), "5b8fa8")
    return canvas


def space(rng: Luck) -> Canvas:
    """A dark violet sky with points of light, a ringed planet and a small red one."""
    canvas = sky("150f33", "3b2170")
    for index in range(40):
        disc(canvas, *scatter(rng, index, 0.02), 0.005 + 0.0025 * (index % 3), "f4f0ff")
    x, y = near(rng, 0.83, 0.04), near(rng, 0.2, 0.03)
    oval(canvas, (x, y), (0.16, 0.035), "e8c9a0")
    disc(canvas, x, y, 0.09, "d9935f")
    polygon(
        canvas, [(x - 0.09, y - 0.005), (x + 0.09, y - 0.005), (x + 0.09, y + 0.022), (x - 0.09, y + 0.022)], "e8c9a0"
    )
    disc(canvas, near(rng, 0.12, 0.03), near(rng, 0.83, 0.03), 0.07, "4fb3a5")
    return canvas


@dataclass(frozen=True)
class Place:
    """One place: its painter, where feet stand (None: all floats), what it is called, with the words that lead there.

    `phrases` follow an object ("a cat on a beach"); `names` stand alone ("a beach").
    """

    paint: Callable[[Luck], Canvas]
    ground: float | None
    names: tuple[str, ...]
    phrases: tuple[str, ...]


PLACES = {
    "beach": Place(beach, 0.84, ("a beach", "the beach"), ("on a beach", "at the beach", "by the seaside")),
    "meadow": Place(meadow, 0.86, ("a meadow", "a grassy hill"), ("in a meadow", "on the grass", "in a field")),
    "desert": Place(desert, 0.86, ("a desert", "sand dunes"), ("in the desert", "in a desert", "among sand dunes")),
    "snow": Place(snow, 0.86, ("snow", "a snowy hill"), ("in the snow", "on a snowy hill")),
    "forest": Place(forest, 0.88, ("a forest", "the woods"), ("in a forest", "in the woods", "among the firs")),
    "city": Place(city, 0.88, ("a city", "a town"), ("in a city", "in the city", "in a town", "on a street")),
    "sea": Place(sea, None, ("the sea", "the ocean"), ("in the sea", "under water", "underwater", "in the ocean")),
    "mountains": Place(
        mountains,
        0.88,
        ("mountains", "the mountains"),
        ("in the mountains", "among the mountains", "by a mountain lake"),
    ),
    "room": Place(room, 0.9, ("a room", "a living room"), ("in a room", "in a living room", "indoors", "at home")),
    "space": Place(space, None, ("space", "outer space"), ("in space", "in outer space", "among the planets")),
}


def paint(place: str, rng: Luck = None) -> Canvas:
    """The place, uint8 (SIDE, SIDE, 3), RGB: canonical, or with random numbers a variation of it."""
    canvas = PLACES[place].paint(rng)
    if rng is None:
        return canvas
    gains = 1 + rng.uniform(-TINT, TINT, 3)
    table = np.rint(np.arange(256)[:, None] * gains).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(canvas, table[None]), np.uint8)
