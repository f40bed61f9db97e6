"""Real pictures and prompts to measure a network's ranges on, so that its engine does not depend on who built it."""

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

FILE = Path(__file__).with_name("calibration.jpg")  # squares side by side, CC0: see NOTICE
SCENES = 24
PROMPTS = (  # in words that the embedded model knows too: a hint about ours would puzzle a user
    "a photo",
    "a pencil sketch",
    "an oil painting",
    "neon outlines",
    "",
    "a watercolour",
    "a comic with halftone",
    "golden light",
    "stained glass",
    "ink drawing",
    "a mosaic",
    "pixel art",
    "night",
    "thermal camera",
    "halftone",
    "an embossed relief",
)
STRENGTHS = (0.5, 0.3, 0.8)


def pictures(width: int, height: int) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The pictures in this size, their centres."""
    with Image.open(FILE) as strip:
        side = strip.height
        squares = [strip.crop((left, 0, left + side, side)) for left in range(0, strip.width, side)]
    return [np.asarray(ImageOps.fit(square, (width, height), Image.Resampling.LANCZOS)) for square in squares]


def scenes(width: int, height: int) -> Iterator[tuple[dict[str, Any], UInt8[np.ndarray, "h w 3"]]]:
    """SCENES changes of `millstream.params.Params`, each with the picture that it is for."""
    drawn = zip(cycle(PROMPTS), cycle(STRENGTHS), cycle(pictures(width, height)), strict=False)
    for prompt, strength, picture in islice(drawn, SCENES):
        yield {"prompt": prompt, "strength": strength}, picture
