"""The objects of the scenes: one drawing each, of the flat Fluent set, and what people may call them.

`python -m training.icons` draws them into FILE.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training import pack

FILE = pack.WORK / "objects.npz"
SIDE = 256  # pixels of a drawing's longer side
LEVELS = 4  # sizes kept of each, a factor of sqrt(2) apart

Rgba8 = NDArray[np.uint8]  # (h, w, 4), colours multiplied by alpha


@dataclass(frozen=True)
class Thing:
    """One object: the icon's name in the package, what it is called (the first is the usual), whether it floats."""

    icon: str
    phrases: tuple[str, ...]
    floats: bool = False


THINGS = {
    "cat": Thing("cat-face", ("cat", "kitten", "kitty")),
    "dog": Thing("dog-face", ("dog", "puppy", "hound")),
    "fox": Thing("fox", ("fox", "red fox")),
    "panda": Thing("panda", ("panda", "panda bear")),
    "rabbit": Thing("rabbit", ("rabbit", "bunny", "hare")),
    "frog": Thing("frog", ("frog", "toad")),
    "owl": Thing("owl", ("owl",)),
    "penguin": Thing("penguin", ("penguin",)),
    "whale": Thing("whale", ("whale",)),
    "butterfly": Thing("butterfly", ("butterfly",), floats=True),
    "ladybird": Thing("lady-beetle", ("ladybird", "ladybug", "beetle")),
    "pig": Thing("pig-face", ("pig", "piglet")),
    "apple": Thing("red-apple", ("apple", "red apple")),
    "banana": Thing("banana", ("banana", "peeled banana")),
    "strawberry": Thing("strawberry", ("strawberry", "berry")),
    "mushroom": Thing("mushroom", ("mushroom", "toadstool")),
    "pumpkin": Thing("jack-o-lantern", ("pumpkin", "halloween pumpkin")),
    "tree": Thing("deciduous-tree", ("tree", "green tree", "oak")),
    "palm": Thing("palm-tree", ("palm tree", "palm", "coconut palm")),
    "cactus": Thing("cactus", ("cactus",)),
    "sunflower": Thing("sunflower", ("sunflower", "yellow flower")),
    "tulip": Thing("tulip", ("tulip",)),
    "house": Thing("house", ("house", "cottage")),
    "castle": Thing("castle", ("castle", "fortress")),
    "car": Thing("automobile", ("car", "automobile", "red car")),
    "bus": Thing("bus", ("bus", "yellow bus")),
    "sailboat": Thing("sailboat", ("sailboat", "sailing boat", "yacht")),
    "rocket": Thing("rocket", ("rocket", "spaceship"), floats=True),
    "balloon": Thing("balloon", ("balloon", "red balloon"), floats=True),
    "umbrella": Thing("umbrella", ("umbrella", "parasol")),
    "snowman": Thing("snowman-without-snow", ("snowman",)),
    "star": Thing("star", ("star", "yellow star"), floats=True),
    "heart": Thing("red-heart", ("heart", "red heart"), floats=True),
    "robot": Thing("robot", ("robot", "android")),
    "ghost": Thing("ghost", ("ghost",), floats=True),
    "teapot": Thing("teapot", ("teapot", "kettle")),
}


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
