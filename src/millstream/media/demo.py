"""An animated drawing made by code: a day over a meadow, for machines without a camera or a file."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from millstream.frame import Frame, Pixels
from millstream.media.base import Source, SourceInfo

_RATE = Fraction(15)
_FRAMES = 90
_SIDE = 256
_SUPERSAMPLING = 3

Colour = tuple[int, int, int]

_NIGHT_BLUE, _DAY_BLUE = (58, 84, 140), (96, 170, 232)
_DUSK, _HAZE = (250, 176, 116), (214, 234, 246)
_SUN, _GLOW = (255, 232, 120), (255, 214, 130)
_CLOUD = (250, 250, 252)
_WALL, _ROOF, _DOOR, _WINDOW, _CHIMNEY = (236, 214, 176), (176, 66, 48), (110, 70, 44), (130, 190, 224), (150, 90, 76)
_TRUNK, _LEAVES = (112, 76, 46), (58, 124, 62)
_BALL, _STRIPE = (226, 62, 62), (250, 246, 240)


@dataclass(frozen=True, slots=True)
class _Hills:
    """A ridge: its height and rise as parts of the picture, and its wave in radians."""

    top: float
    rise: float
    waves: float
    phase: float
    colour: Colour


_FAR_HILLS = _Hills(0.62, 0.07, 7.0, 0.4, (108, 138, 160))
_NEAR_HILLS = _Hills(0.70, 0.05, 4.5, 2.0, (92, 150, 104))
_MEADOW = _Hills(0.80, 0.02, 3.0, 4.2, (124, 184, 84))


class DemoSource(Source):
    """Six seconds at 15 frames a second of 256x256, the same at every run."""

    def __init__(self) -> None:
        self.info = SourceInfo(_SIDE, _SIDE, _RATE, _FRAMES, duration=_FRAMES / _RATE)

    def __iter__(self) -> Iterator[Frame]:
        for i in range(_FRAMES):
            yield Frame(i, draw(i / _FRAMES, _SIDE, _SIDE), float(i / _RATE))


def draw(moment: float, width: int, height: int) -> Pixels:
    """Draw the landscape at `moment` of the day, 0 (sunrise) to 1 (sunset)."""
    size = width * _SUPERSAMPLING, height * _SUPERSAMPLING
    canvas = _sky(moment, *size)
    canvas = _glow(canvas, moment)
    brush = _Brush(canvas)
    _sun(brush, moment)
    _cloud(brush, 0.2 + 0.9 * moment - 0.35, 0.2, 0.13)
    _cloud(brush, 0.75 + 0.5 * moment - 0.2, 0.33, 0.09)
    for hills in (_FAR_HILLS, _NEAR_HILLS, _MEADOW):
        _ridge(brush, hills)
    _house(brush, 0.66, 0.60)
    _tree(brush, 0.18, 0.82)
    _ball(brush, moment)
    return np.array(canvas.reduce(_SUPERSAMPLING))


class _Brush:
    """Draws in units of the picture: x and y from 0 to 1."""

    def __init__(self, canvas: Image.Image) -> None:
        self._draw = ImageDraw.Draw(canvas)
        self.width, self.height = canvas.size

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """Fill the polygon through `points`."""
        self._draw.polygon([(x * self.width, y * self.height) for x, y in points], fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a disc; the radius is in heights, so that it is round in any picture."""
        self._draw.ellipse(self._around(x, y, radius), fill=colour)

    def sector(self, x: float, y: float, radius: float, degrees: tuple[float, float], colour: Colour) -> None:
        """Fill the part of a disc between two angles."""
        self._draw.pieslice(self._around(x, y, radius), *degrees, fill=colour)

    def _around(self, x: float, y: float, radius: float) -> tuple[float, float, float, float]:
        cx, cy, r = x * self.width, y * self.height, radius * self.height
        return cx - r, cy - r, cx + r, cy + r


def _height_of_sun(moment: float) -> float:
    return math.sin(math.pi * moment)


def _place_of_sun(moment: float) -> tuple[float, float]:
    return 0.08 + 0.84 * moment, 0.60 - 0.46 * _height_of_sun(moment)


def _mix(a: Colour, b: Colour, share: float) -> np.ndarray:
    return np.asarray(a) * (1 - share) + np.asarray(b) * share


def _sky(moment: float, width: int, height: int) -> Image.Image:
    """Draw a gradient from the zenith to the horizon, warm when the sun is low."""
    day = min(1.0, 1.5 * _height_of_sun(moment))
    zenith, horizon = _mix(_NIGHT_BLUE, _DAY_BLUE, day), _mix(_DUSK, _HAZE, day)
    down = np.clip(np.linspace(0, 1.4, height), 0, 1)[:, None]
    column = np.rint(zenith * (1 - down) + horizon * down).astype(np.uint8)
    return Image.fromarray(np.repeat(column[:, None], width, axis=1))


def _glow(canvas: Image.Image, moment: float) -> Image.Image:
    """Light up the sky around the sun."""
    x, y = _place_of_sun(moment)
    small = canvas.size[0] // 12, canvas.size[1] // 12
    mask = Image.new("L", small)
    radius = 0.16 * small[1]
    cx, cy = x * small[0], y * small[1]
    ImageDraw.Draw(mask).ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=170)
    soft = mask.filter(ImageFilter.GaussianBlur(0.08 * small[1])).resize(canvas.size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", canvas.size, _GLOW), canvas, soft)


def _sun(brush: _Brush, moment: float) -> None:
    brush.disc(*_place_of_sun(moment), 0.065, _SUN)


def _cloud(brush: _Brush, x: float, y: float, size: float) -> None:
    for across, down, radius in ((-0.9, 0.15, 0.38), (-0.35, -0.1, 0.5), (0.3, -0.02, 0.45), (0.85, 0.18, 0.34)):
        brush.disc(x + across * size, y + down * size, radius * size, _CLOUD)
    brush.box(x - 0.9 * size, y + 0.1 * size, x + 0.85 * size, y + 0.5 * size, _CLOUD)


def _ridge(brush: _Brush, hills: _Hills) -> None:
    across = [i / 120 for i in range(121)]
    waves = [math.sin(hills.waves * x + hills.phase) + 0.4 * math.sin(2.3 * hills.waves * x) for x in across]
    line = [(x, hills.top + hills.rise * wave / 1.4) for x, wave in zip(across, waves, strict=True)]
    brush.polygon([(0, 1), *line, (1, 1)], hills.colour)


def _house(brush: _Brush, left: float, top: float) -> None:
    brush.box(left + 0.17, top - 0.13, left + 0.205, top, _CHIMNEY)
    brush.polygon([(left - 0.025, top), (left + 0.12, top - 0.13), (left + 0.265, top)], _ROOF)
    brush.box(left, top, left + 0.24, top + 0.2, _WALL)
    brush.box(left + 0.095, top + 0.09, left + 0.15, top + 0.2, _DOOR)
    for x in (left + 0.025, left + 0.17):
        brush.box(x, top + 0.05, x + 0.045, top + 0.1, _WINDOW)


def _tree(brush: _Brush, x: float, ground: float) -> None:
    brush.box(x - 0.014, ground - 0.16, x + 0.014, ground, _TRUNK)
    for across, up, radius in ((-0.05, 0.18, 0.06), (0.05, 0.18, 0.06), (0.0, 0.25, 0.07)):
        brush.disc(x + across, ground - up, radius, _LEAVES)


def _ball(brush: _Brush, moment: float) -> None:
    """Roll a striped ball over the meadow without slipping."""
    radius, travel = 0.06, 1.24 * moment
    x, y = travel - 0.12, 0.9
    turned = math.degrees(travel * brush.width / (radius * brush.height))
    brush.disc(x, y, radius, _BALL)
    for start in (turned, turned + 180):
        brush.sector(x, y, radius, (start, start + 50), _STRIPE)
