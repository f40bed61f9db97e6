"""Cross-frame attention: who attends to whom (StreamDiffusion, arXiv 2312.12491, section 3.2).

In self-attention each row's query attends to the keys and values of all rows of its own stream: the frames before
and after it in time, at their other stages. Which rows these are is data: an index of at most `width` rows and a
bias that closes bubbles and padding. Rows run under the negative prompt attend among themselves.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from millstream.core.rows import Conditioning, Lane

NEIGHBOURS = "neighbours"
NEIGHBOUR_BIAS = "neighbour_bias"
KEPT = 64  # occupations of a batch whose tables are kept


class Circle(NamedTuple):
    """Rows that may attend to one another: all of a lane, or those of it run under the negative prompt."""

    occupied: tuple[bool, ...]
    cross_frame: bool


def neighbours(lanes: Sequence[Lane[Any]]) -> Conditioning:
    """Index (rows, width) and additive bias (rows, width) of the rows each row attends to.

    Empty where no lane uses cross-frame attention, so that the network keeps its plain form. The width does not depend
    on which rows are bubbles, so shapes stay while a stream warms up and drains.
    """
    if not any(lane.layout.cross_frame for lane in lanes):
        return {}
    whole = [(lane, lane.layout.rows) for lane in lanes]
    negative = [(lane, lane.layout.negative_rows) for lane in lanes]
    circles = (Circle(tuple(lane.occupied()[:n]), lane.layout.cross_frame) for lane, n in [*whole, *negative])
    index, bias = _tables(tuple(circles), lanes[0].rows.x.device)
    return {NEIGHBOURS: index, NEIGHBOUR_BIAS: bias}


@lru_cache(KEPT)
def _tables(circles: tuple[Circle, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Kept, for new tensors each tick would make the device wait for the host."""
    views: list[list[tuple[int, bool]]] = []
    for circle in circles:
        views += _views(circle, len(views))
    width = max(map(len, views))
    padded = [view + [(row, False)] * (width - len(view)) for row, view in enumerate(views)]
    index = [[other for other, _ in view] for view in padded]
    bias = [[0.0 if seen else float("-inf") for _, seen in view] for view in padded]
    return torch.tensor(index, device=device), torch.tensor(bias, device=device)


def _views(circle: Circle, start: int) -> list[list[tuple[int, bool]]]:
    """For each row of a circle whose first row is `start`, the rows it may attend to, and whether it does."""
    there, count = circle.occupied, len(circle.occupied)
    if not circle.cross_frame:
        return [[(start + i, True)] for i in range(count)]
    seen = [[i == j or (there[i] and there[j]) for j in range(count)] for i in range(count)]
    # What is closed points to the row itself: a closed NaN would still be one, as 0 * NaN is.
    return [[(start + (j if seen[i][j] else i), seen[i][j]) for j in range(count)] for i in range(count)]


def gather(value: Tensor, index: Tensor) -> Tensor:
    """Tokens of each row's neighbours, one behind the other: (rows, tokens, d) -> (rows, width*tokens, d)."""
    rows, width = index.shape
    return value[index].reshape(rows, width * value.shape[1], value.shape[2])


def token_bias(bias: Tensor, tokens: int) -> Tensor:
    """The bias of each neighbour for each of its tokens: (rows, width) -> (rows, 1, 1, width*tokens)."""
    return bias.repeat_interleave(tokens, dim=1)[:, None, None, :]
