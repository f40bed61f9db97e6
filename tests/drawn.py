"""Stand-ins for the objects' drawings, which come from a package: a disc with a bar, each in its own colours."""

import cv2
import numpy as np

from training import objects, pack, roughen
from training.things import THINGS


def drawing(index: int) -> np.ndarray:
    """A drawing, premultiplied RGBA of 256 by 200 pixels: opaque disc, with a bar that is not its mirror image."""
    made = np.zeros((200, 256, 4), np.uint8)
    cv2.ellipse(made, (128, 100), (127, 99), 0, 0, 360, (*colour(index), 255), -1)
    made[60:140, 30:80] = (255, 255, 255, 255)
    return made


def colour(index: int) -> tuple[int, int, int]:
    """The disc's colour, another for each of 640."""
    return 10 + 6 * index % 240, 240 - 6 * index % 240, 17 * index % 256


def write(path) -> None:
    """An archive as training.icons writes it."""
    np.savez(path, **{name: pack.encode(drawing(i)) for i, name in enumerate(THINGS)})


def forget() -> None:
    """Nothing is kept of drawings loaded so far."""
    objects.load.cache_clear()
    roughen.simplified.cache_clear()
