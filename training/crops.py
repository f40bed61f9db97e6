"""Training crops: photographs, drawings on backgrounds and synthetic pictures, each from its own seed.

Crop number i depends on i and the pack alone, so pools of any size agree on what they share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from training import pack
from training.filters import Field, Picture, blur, clip, mix, to_bytes

Rgb8 = NDArray[np.uint8]  # (side, side, 3)
SIDE = 256

Option = TypeVar("Option")


@dataclass(frozen=True)
class Library:
    """The pictures crops are cut from: groups of photographs that are drawn equally often, and drawings (RGBA)."""

    groups: Sequence[Sequence[NDArray[np.uint8]]]
    drawings: Sequence[NDArray[np.uint8]]


def library(training: bool = True) -> Library:
    """The training (or held-out) pictures of the pack."""
    pictures = pack.load(training)
    sources = {name.split("/")[0] for name, picture in pictures.items() if picture.shape[2] == 3} - {"sklearn", "scipy"}
    merged = {"skimage": ("skimage", "sklearn", "scipy")}
    groups = [
        [picture for name, picture in pictures.items() if name.split("/")[0] in merged.get(source, (source,))]
        for source in sorted(sources)
    ]
    return Library(groups, [picture for picture in pictures.values() if picture.shape[2] == 4])


def cut(picture: NDArray[np.uint8], rng: Generator, side: int = SIDE) -> Picture:
    """A random square of at least 5/8 of `side`, turned by up to 12 degrees, mirrored half the time."""
    height, width = picture.shape[:2]
    least = min(height, width, round(side * 0.625))
    edge = np.exp(rng.uniform(np.log(least), np.log(min(height, width))))
    centre = rng.uniform(edge / 2, [width - edge / 2, height - edge / 2])
    angle = rng.uniform(-12, 12) if rng.random() < 0.4 else 0.0
    turn = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, side / edge)
    turn[:, 2] += side / 2 - centre
    shrunk = cv2.GaussianBlur(picture, (0, 0), max(0.01, 0.4 * edge / side)) if edge > 1.4 * side else picture
    crop = cv2.warpAffine(shrunk, turn, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    return np.ascontiguousarray(crop, np.float32) / 255


def recolour(picture: Picture, rng: Generator) -> Picture:
    """Random gamma, contrast, white balance, colourfulness and, at times, hue."""
    if rng.random() < 0.35:
        hsv = cv2.cvtColor(clip(picture), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + rng.uniform(0, 360)) % 360
        picture = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    picture = clip(picture) ** np.exp(rng.normal(0, 0.25))
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * rng.uniform(0.6, 1.4)
    picture = (picture - 0.5) * rng.uniform(0.75, 1.2) + 0.5
    return clip(picture * rng.uniform(0.88, 1.12, 3))


def pick(options: Sequence[Option], rng: Generator) -> Option:
    """One of the options, all alike."""
    return options[int(rng.integers(len(options)))]


def photograph(shelf: Library, rng: Generator, side: int = SIDE) -> Picture:
    """A crop of a photograph or film frame."""
    return cut(pick(pick(shelf.groups, rng), rng), rng, side)


def gradient(rng: Generator, side: int = SIDE) -> Picture:
    """A smooth field of colours: a few random values, enlarged."""
    knots = rng.random((rng.integers(2, 6), rng.integers(2, 6), 3)).astype(np.float32)
    return clip(cv2.resize(knots, (side, side), interpolation=cv2.INTER_CUBIC))


def leaf(rng: Generator, side: int) -> Field:
    """One soft-edged shape's cover in [0, 1]; radii follow r^-3, as in natural pictures."""
    radius = 9 / np.sqrt(rng.uniform((9 / (0.4 * side)) ** 2, 1))
    centre = rng.uniform(0, side, 2)
    cover = np.zeros((side, side), np.uint8)
    if rng.random() < 0.5:
        axes = (radius, radius * rng.uniform(0.3, 1))
        cv2.ellipse(cover, (tuple(centre), axes, rng.uniform(0, 180)), 255, -1, cv2.LINE_AA)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        corners = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(cover, [np.rint(corners).astype(np.int32)], 255, cv2.LINE_AA)
    return cover.astype(np.float32) / 255


def dead_leaves(shelf: Library, rng: Generator, side: int = SIDE) -> Picture:
    """Shapes that cover each other (Lee, Mumford and Huang 2001), in flat colours, gradients and textures."""
    canvas = gradient(rng, side)
    textures = [photograph(shelf, rng, side), gradient(rng, side), gradient(rng, side)]
    for _ in range(rng.integers(30, 160)):
        cover = leaf(rng, side)
        kind = rng.random()
        fill = rng.random(3).astype(np.float32) if kind < 0.6 else textures[rng.integers(3)]
        canvas += (fill - canvas) * cover[..., None]
    return blur(canvas, rng.uniform(0.3, 0.9))


def waves(rng: Generator, side: int = SIDE) -> Picture:
    """Two colours mixed by a sum of plane waves."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    phase = np.zeros((side, side), np.float32)
    for _ in range(rng.integers(1, 4)):
        angle, period = rng.uniform(0, np.pi), rng.uniform(10, 120)
        phase += np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period) + rng.uniform(0, 6))
    share = 0.5 + 0.5 * np.tanh(phase * rng.uniform(0.5, 4))[..., None]
    return mix(gradient(rng, side), gradient(rng, side), share)


def place(canvas: Picture, drawing: NDArray[np.uint8], rng: Generator) -> Picture:
    """The drawing somewhere on the canvas, scaled to 0.2 to 0.9 of its side, turned by up to 25 degrees."""
    side = canvas.shape[0]
    scale = rng.uniform(0.2, 0.9) * side / max(drawing.shape[:2])
    middle = np.array([drawing.shape[1], drawing.shape[0]]) / 2
    turn = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), rng.uniform(-25, 25), scale)
    turn[:, 2] += rng.uniform(0.15, 0.85, 2) * side - middle
    moved = cv2.warpAffine(drawing, turn, (side, side), flags=cv2.INTER_AREA).astype(np.float32) / 255
    return np.asarray(canvas + (moved[..., :3] - canvas) * moved[..., 3:], np.float32)


def scene(shelf: Library, rng: Generator, side: int = SIDE) -> Picture:
    """One to five drawings on a gradient or a blurred photograph."""
    ground = gradient(rng, side) if rng.random() < 0.5 else photograph(shelf, rng, side)
    canvas = blur(ground, rng.uniform(0.3, 6))
    for _ in range(rng.integers(1, 6)):
        canvas = place(canvas, pick(shelf.drawings, rng), rng)
    return canvas


def crop(shelf: Library, index: int, side: int = SIDE) -> Rgb8:
    """Crop number `index`: 65 percent photographs, 17 scenes, 12 dead leaves, 6 waves."""
    rng = default_rng(index)
    kind = rng.random()
    if kind < 0.65:
        picture = photograph(shelf, rng, side)
    elif kind < 0.82:
        picture = scene(shelf, rng, side)
    elif kind < 0.94:
        picture = dead_leaves(shelf, rng, side)
    else:
        picture = waves(rng, side)
    picture = recolour(picture, rng) if rng.random() < 0.7 else picture
    return to_bytes(picture)
