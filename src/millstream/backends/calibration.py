"""Real pictures and prompts to measure a network's ranges on, so that its engine does not depend on who built it."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps

from millstream.core.graph import Form, Inputs, Networks, TickGraph

FILE = Path(__file__).with_name("calibration.jpg")  # squares side by side, CC0: see NOTICE
PROMPTS = (  # in words that the embedded model knows too: a hint about ours would puzzle a user
    "a house in the snow",
    "a car in a city",
    "an apple on a beach",
    "a flower in a field",
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
STRENGTHS = (1.0, 0.3, 0.5, 0.8)  # that of text alone with them


def in_flight(networks: Networks, form: Form, inputs: Inputs) -> Inputs:
    """Inputs whose pictures are at every stage, with the latents of all but stage 0 computed in their place."""
    graph, counts = TickGraph(networks, form), [lane.layout.rows for lane in form]
    for _ in range(max(lane.layout.stages for lane in form) - 1):
        _, x_next, reference = graph.latents(inputs)
        parts = zip(torch.split(x_next, counts), torch.split(reference, counts), strict=True)
        for rows, lane, part in zip(inputs.lanes, form, parts, strict=True):
            rows.move_on(lane.layout, *part)
    return inputs


def pictures(width: int, height: int) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The pictures in this size, their centres."""
    with Image.open(FILE) as strip:
        side = strip.height
        squares = [strip.crop((left, 0, left + side, side)) for left in range(0, strip.width, side)]
    return [np.asarray(ImageOps.fit(square, (width, height), Image.Resampling.LANCZOS)) for square in squares]


def scenes(width: int, height: int) -> Iterator[tuple[dict[str, Any], UInt8[np.ndarray, "h w 3"]]]:
    """Changes of `millstream.params.Params`, one for each prompt, with the picture that it is for."""
    for prompt, strength, picture in zip(PROMPTS, cycle(STRENGTHS), cycle(pictures(width, height)), strict=False):
        yield {"prompt": prompt, "strength": strength}, picture
