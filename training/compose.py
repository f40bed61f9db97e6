"""An object in a place: which, where, and the clean picture of it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from training import brushes, objects, places
from training.things import THINGS

SIDE = brushes.SIDE
OBJECTS, PLACES = list(THINGS), list(places.PLACES)

HOME = "meadow"  # where an object is that nobody places

Rgb8 = NDArray[np.uint8]  # (SIDE, SIDE, 3)


@dataclass(frozen=True)
class Layout:
    """Where the object is: its centre and its longer side in shares of the picture's, its tilt in degrees."""

    x: float = 0.5
    y: float = 0.5
    size: float = 0.6
    tilt: float = 0.0
    mirrored: bool = False


@dataclass(frozen=True)
class Scene:
    """An object (None: nobody there) in a place; `variation` seeds the place's details, None is the canonical place."""

    obj: str | None
    place: str
    layout: Layout = Layout()
    variation: int | None = None


def canonical(obj: str | None, place: str | None) -> Scene:
    """What a prompt alone means: the object in the middle, upright, on the ground where it stands and there is one.

    Nowhere in particular is HOME.
    """
    place = place or HOME
    ground = places.PLACES[place].ground
    if obj is None or ground is None or THINGS[obj].floats:
        return Scene(obj, place, Layout(y=0.46))
    height, width = objects.load()[obj][0].shape[:2]
    size = Layout().size
    return Scene(obj, place, Layout(y=ground - 0.5 * size * height / max(height, width)))


def sample(rng: Generator) -> Scene:
    """Any object anywhere in any place, 0.35 to 0.85 of the side large and inside the picture."""
    size = rng.uniform(0.35, 0.85)
    x, y = rng.uniform(size / 2, 1 - size / 2, 2)
    layout = Layout(x, y, size, float(rng.normal(0, 5)), bool(rng.random() < 0.5))
    obj, place = OBJECTS[rng.integers(len(OBJECTS))], PLACES[rng.integers(len(PLACES))]
    return Scene(obj, place, layout, variation=int(rng.integers(2**31)))


def background(scene: Scene) -> Rgb8:
    """The place alone."""
    return places.paint(scene.place, None if scene.variation is None else default_rng(scene.variation))


def move(levels: tuple[objects.Rgba8, ...], layout: Layout) -> objects.Rgba8:
    """The drawing, in place on an empty layer of (SIDE, SIDE, 4), colours multiplied by alpha."""
    pixels = layout.size * SIDE
    drawing = min((level for level in levels if max(level.shape[:2]) >= 0.98 * pixels), key=max_side, default=levels[0])
    height, width = drawing.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), layout.tilt, pixels / max(height, width))
    if layout.mirrored:
        turn = turn @ np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1]])
    turn[:, 2] += SIDE * np.array([layout.x, layout.y]) - (width / 2, height / 2)
    return np.asarray(cv2.warpAffine(drawing, turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR), np.uint8)


def max_side(picture: NDArray[np.uint8]) -> int:
    """The longer side, in pixels."""
    return int(max(picture.shape[:2]))


def over(layer: objects.Rgba8, ground: Rgb8) -> Rgb8:
    """The layer, colours multiplied by alpha, upon a picture."""
    through = cv2.merge([255 - layer[..., 3]] * 3)
    return np.asarray(cv2.add(layer[..., :3], cv2.multiply(ground, through, scale=1 / 255)), np.uint8)


def figure(scene: Scene) -> objects.Rgba8:
    """The object alone, in its place on an empty layer; empty where there is no object."""
    if scene.obj is None:
        return np.zeros((SIDE, SIDE, 4), np.uint8)
    return move(objects.load()[scene.obj], scene.layout)


def draw(scene: Scene) -> Rgb8:
    """The clean picture, uint8 (SIDE, SIDE, 3), RGB."""
    return over(figure(scene), background(scene))
