"""Scenes as a person would paint them in a hurry: flat blobs for the object, a few bands for the place.

How rough is drawn anew each time, from nearly the clean picture to one blob on one colour. What a drawing can tell is
less than the scene it began with: `Sketch.asked` is the clean picture that follows from the drawing.
"""

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from numpy.typing import NDArray

from training import objects
from training.brushes import SIDE
from training.compose import Rgb8, Scene, background, draw, figure, move, over
from training.crops import pick

COLOURS = (6, 4, 3, 2, 1)  # of an object, from clean to rough
BRUSHES = (1, 3, 6, 9, 12)  # standard deviation, in pixels, of what a brush smooths; the object is 256 pixels large
BANDS = (4, 3, 2, 2, 1)  # of a place
SMEARED = 0.15  # share of drawings that are smeared pictures and not painted blobs
EVEN = 0.9  # the share of a silhouette that its mirror image covers, from which on the two are one
FITTED = 50  # points of an object that say how it was moved; of fewer it is out of the picture
GRID = np.mgrid[:SIDE, :SIDE].astype(np.float32)  # y and x of every pixel

Palette = NDArray[np.uint8]  # (colours + 1, 4), the last is empty
Labels = NDArray[np.uint8]  # (h, w), indices of a palette
Field = Float[np.ndarray, "h w 2"]  # where a moved picture's pixels were before: how far to the right, how far down


@dataclass(frozen=True)
class Sketch:
    """A rough drawing, uint8 (SIDE, SIDE, 3), RGB; the scene that it still tells of, and how that was moved in it."""

    drawing: Rgb8
    told: Scene
    field: Field

    def asked(self) -> Rgb8:
        """The clean picture that the drawing asks for."""
        return over(self.clean_object(), background(self.told))

    def clean_object(self) -> objects.Rgba8:
        """The clean object where the drawing has it, as large and as slanted, on an empty layer.

        Were it where the scene had it before, a network could only guess how far off the drawing is; and the answer of
        least error to a guess is a blur.
        """
        layer = figure(self.told)
        inside = np.argwhere(moved(layer, self.field)[..., 3] > 127)[::7]
        if len(inside) < FITTED:
            return layer
        there = np.insert(inside[:, ::-1], 2, 1, axis=1).astype(np.float32)
        before = there[:, :2] + self.field[inside[:, 0], inside[:, 1]]
        fit = np.linalg.lstsq(there, before, rcond=None)[0].T
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(layer, fit, (SIDE, SIDE), flags=flags), np.uint8)


def roughen(scene: Scene, rng: Generator) -> Rgb8:
    """The scene as a rough drawing of any strength, uint8 (SIDE, SIDE, 3), RGB."""
    return roughened(scene, rng.random(), rng)


def roughened(scene: Scene, strength: float, rng: Generator) -> Rgb8:
    """The scene as a rough drawing; strength 0 is nearly the clean picture, 1 a blob or two."""
    return sketch(scene, strength, rng).drawing


def sketch(scene: Scene, strength: float, rng: Generator) -> Sketch:
    """The scene as a rough drawing, with what it tells; `strength` as in `roughened`."""
    if rng.random() < SMEARED:
        field = wobble(1 + 8 * strength, rng)
        return Sketch(smeared(moved(draw(scene), field), strength, rng), scene, field)
    place = background(scene)
    ground = bands(place, strength, rng)
    told = scene if ground is place else replace(scene, variation=None)  # bands say which place, not where its clouds
    if scene.obj is None:
        return Sketch(ground, told, np.zeros((SIDE, SIDE, 2), np.float32))
    layer, told, field = _blobs(told, scene.obj, strength, rng)
    return Sketch(over(layer, ground), told, field)


def blobs(scene: Scene, obj: str, strength: float, rng: Generator) -> objects.Rgba8:
    """The object as a layer of flat blobs, nearly in its place."""
    return _blobs(scene, obj, strength, rng)[0]


def _blobs(scene: Scene, obj: str, strength: float, rng: Generator) -> tuple[objects.Rgba8, Scene, Field]:
    colours, brush = level(COLOURS, strength, rng), level(BRUSHES, strength, rng)
    palette, labels = simplified(obj, colours, brush)
    painted = shifted(palette, 14 * strength, rng)
    there = jogged(scene, strength, rng)
    layer = move((painted[labels],), there.layout)
    layer = faceted(layer, rng) if rng.random() < 0.5 * strength else layer
    field = wobble(1 + 8 * strength, rng)
    layout = replace(there.layout, mirrored=there.layout.mirrored and not symmetric(obj, colours, brush))
    return moved(layer, field), replace(there, layout=layout), field


def symmetric(obj: str, colours: int, brush: int) -> bool:
    """Whether the object drawn so is a silhouette and its own mirror image, and does not tell which way it looks.

    Were its clean picture mirrored at random, the answer of least error were both at once: each eye of a ghost half a
    wink.
    """
    if colours > 1:
        return False
    inside = simplified(obj, colours, brush)[1] < colours
    either = inside | inside[:, ::-1]
    return bool((inside == inside[:, ::-1])[either].mean() > EVEN)


def level(steps: tuple[int, ...], strength: float, rng: Generator) -> int:
    """The step for about that strength, 0 the first and 1 the last."""
    return steps[int(len(steps) * np.clip(strength + rng.normal(0, 0.15), 0, 0.999))]


@cache
def simplified(obj: str, colours: int, brush: int) -> tuple[Palette, Labels]:
    """The object in few colours, each pixel that of most of its surroundings: details smaller than the brush go."""
    drawing, margin = objects.load()[obj][0], 2 * brush
    drawing = cv2.copyMakeBorder(drawing, *(margin,) * 4, cv2.BORDER_CONSTANT)
    inside = drawing[..., 3] > 127
    labels = np.full(inside.shape, colours, np.uint8)
    labels[inside], centres = clusters(drawing[inside][:, :3], colours)
    votes = [cv2.GaussianBlur((labels == label).astype(np.float32), (0, 0), brush) for label in range(colours + 1)]
    opaque = np.insert(centres, 3, 255, axis=1)
    winners = np.argmax(votes, axis=0).astype(np.uint8)[margin:-margin, margin:-margin]
    return np.concatenate([opaque, np.zeros((1, 4), np.uint8)]), winners


def clusters(pixels: NDArray[np.uint8], count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Each pixel's label and the labels' mean colours, by k-means from an even split by brightness."""
    rank = np.argsort(np.argsort(pixels.sum(axis=1), kind="stable"), kind="stable")
    first = (rank * count // len(pixels)).astype(np.int32)[:, None]
    stop = (cv2.TERM_CRITERIA_MAX_ITER, 10, 0)
    found = cv2.kmeans(pixels.astype(np.float32), count, first, stop, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    return found[1][:, 0].astype(np.uint8), np.rint(found[2]).astype(np.uint8)


def shifted(palette: Palette, spread: float, rng: Generator) -> Palette:
    """The colours as picked by eye, each a little off: `spread` is the standard deviation in levels of 255."""
    colours = np.rint(palette[:-1, :3] + rng.normal(0, spread, (len(palette) - 1, 3))).clip(0, 255)
    made = palette.copy()
    made[:-1, :3] = colours
    return made


def jogged(scene: Scene, strength: float, rng: Generator) -> Scene:
    """The object not quite where it was: off by a percent or two of the side, a twentieth of its size, some degrees."""
    dx, dy, grow, turn = strength * rng.normal(0, (0.012, 0.012, 0.04, 4))
    old = scene.layout
    layout = replace(old, x=old.x + dx, y=old.y + dy, size=old.size * (1 + grow), tilt=old.tilt + turn)
    return replace(scene, layout=layout)


def faceted(layer: objects.Rgba8, rng: Generator) -> objects.Rgba8:
    """The silhouette as a polygon of few corners, in the layer's colours within and its mean colour where it grows."""
    solid = (layer[..., 3] > 127).astype(np.uint8)
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corner = rng.uniform(0.01, 0.035)
    polygons = [cv2.approxPolyDP(line, corner * cv2.arcLength(line, closed=True), closed=True) for line in outlines]
    made = np.zeros_like(layer)
    cv2.fillPoly(made, polygons, (*cv2.mean(layer, solid)[:3], 255), cv2.LINE_AA)
    both = (made[..., 3:] == 255) & (layer[..., 3:] == 255)
    return np.where(both, layer, made)


def softened(layer: objects.Rgba8, size: float, rng: Generator) -> objects.Rgba8:
    """The object out of focus: blurred until little but its colour is left; `size` is its share of the side."""
    return np.asarray(cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.05, 0.1) * size * SIDE), np.uint8)


def wobble(amplitude: float, rng: Generator) -> Field:
    """A smooth movement this way and that, by about `amplitude` pixels."""
    knots = rng.normal(0, 0.6 * amplitude, (*rng.integers(4, 9, 2), 2)).astype(np.float32)
    return np.asarray(cv2.resize(knots, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def moved(picture: NDArray[np.uint8], field: Field) -> NDArray[np.uint8]:
    """The picture moved by the field; what comes in from outside is empty, or as the picture's edge."""
    border = cv2.BORDER_CONSTANT if picture.shape[2] == 4 else cv2.BORDER_REPLICATE
    made = cv2.remap(picture, GRID[1] + field[..., 0], GRID[0] + field[..., 1], cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(made, np.uint8)


def bands(picture: Rgb8, strength: float, rng: Generator) -> Rgb8:
    """The place as bands of one colour each, or one in ten times a plain canvas; seldom as it is, where drawn well."""
    kind = rng.random()
    if kind < 0.1:
        return np.full_like(picture, rng.choice([0, 128, 230, 255]))
    if kind > 0.6 + strength:
        return picture
    rows = cv2.resize(picture, (1, 32), interpolation=cv2.INTER_AREA)[:, 0].astype(np.float32)
    jumps = np.abs(np.diff(rows, axis=0)).sum(axis=1)
    cuts = np.sort(np.argsort(jumps)[::-1][: level(BANDS, strength, rng) - 1] + 1)
    colours = np.array([np.median(part, axis=0) for part in np.split(rows, cuts)])
    colours = np.rint(colours + rng.normal(0, 10 * strength, colours.shape)).clip(0, 255).astype(np.uint8)
    flat = colours[np.searchsorted(cuts * SIDE // 32, np.arange(SIDE), side="right")]
    return moved(np.repeat(flat[:, None], SIDE, axis=1), wobble(1 + 8 * strength, rng))


def smeared(picture: Rgb8, strength: float, rng: Generator) -> Rgb8:
    """The picture, its details lost to a median filter or a blur, in few levels of each channel."""
    size = 3 + 2 * int(12 * strength)
    soft = cv2.medianBlur(picture, size) if rng.random() < 0.5 else cv2.GaussianBlur(picture, (0, 0), size / 3)
    return posterised(np.asarray(soft, np.uint8), pick((256, 16, 8, 6, 5), rng))


def posterised(picture: Rgb8, levels: int) -> Rgb8:
    """Every channel rounded to so many levels."""
    step = 255 / (levels - 1)
    return np.asarray(np.rint(np.rint(picture / step) * step), np.uint8)
