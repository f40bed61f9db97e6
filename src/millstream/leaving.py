"""The frames that leave a tick, and the pictures that it decoded for them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from math import isfinite

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from millstream.copies import fetch
from millstream.core.graph import Form, Outputs
from millstream.core.rows import Leaving
from millstream.errors import ModelError
from millstream.frame import Frame


def pictures(
    outputs: Outputs, leaving: Sequence[Leaving[Frame] | None], form: Form
) -> Callable[[], list[UInt8[np.ndarray, "frames h w 3"]]]:
    """What waits for the pictures that each lane decoded; for none where nothing leaves."""
    latents = [each.latents for each in leaving if each is not None]
    if outputs.pictures is None or not latents:
        return lambda: [np.empty(0, np.uint8)] * len(form)
    # A NaN or an infinity anywhere is left in the sum.
    whole = torch.cat(latents) if len(latents) > 1 else latents[0]
    fetched = fetch([outputs.pictures, whole.sum(dtype=torch.float32)])
    ends = list(accumulate((lane.leaving for lane in form), initial=0))
    return lambda: _split(_finite(*fetched()), ends)


def _split(pictures: UInt8[np.ndarray, "frames h w 3"], ends: Sequence[int]) -> list[UInt8[np.ndarray, "frames h w 3"]]:
    return [pictures[begin:end] for begin, end in pairwise(ends)]


def _finite(pictures: Tensor, total: Tensor) -> UInt8[np.ndarray, "frames h w 3"]:
    if not isfinite(total):
        raise ModelError("the model gave numbers that are no picture (NaN): run it with --dtype float32")
    return pictures.numpy()


def finish(leaving: Leaving[Frame] | None, pictures: UInt8[np.ndarray, "frames h w 3"]) -> list[Frame]:
    """The frames that leave; of a plan that decodes more, the first are theirs."""
    if leaving is None:
        return []
    mine = pictures[: len(leaving.tags)]
    return [
        replace(frame, pixels=pixels, version=leaving.version) for frame, pixels in zip(leaving.tags, mine, strict=True)
    ]
