"""A picture on its way through the stream, with all that is known of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

Pixels = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture.

    `id` counts from 0 in the order of capture and stays with the frame to its output. `pixels` are RGB, 0 to 255.
    `time` is in seconds: the presentation time in a file, the monotonic clock at capture when live. `version` is
    the revision of the parameters an output was made with (0 for an input).
    """

    id: int
    pixels: Pixels
    time: float = 0.0
    version: int = 0


NO_PIXELS: Pixels = np.zeros((0, 0, 3), np.uint8)  # what enters for text to image
