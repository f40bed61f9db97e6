"""Cross-frame attention: who attends to whom (StreamDiffusion, arXiv 2312.12491, section 3.2).

In self-attention each row's query attends to the keys and values of all rows of its own stream: the frames before
and after it in time, at their other stages. Which rows these are is data: an index of at most `width` rows and a
bias that closes bubbles and padding. Rows run under the negative prompt attend among themselves.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from millstream.core.rows import Conditioning, Lane

NEIGHBOURS = "neighbours"
NEIGHBOUR_BIAS = "neighbour_bias"


def neighbours(lanes: Sequence[Lane[Any]]) -> Conditioning:
    """Index (rows, width) and additive bias (rows, width) of the rows each row attends to.

    Empty where no lane uses cross-frame attention, so that the network keeps its plain form.
    """
    if not any(lane.layout.cross_frame for lane in lanes):
        return {}
    circles = _circles(lanes)
    width = max(map(len, circles))
    index = [circle + [row] * (width - len(circle)) for row, circle in enumerate(circles)]
    bias = [[0.0] * len(circle) + [float("-inf")] * (width - len(circle)) for circle in circles]
    device = lanes[0].rows.x.device
    return {
        NEIGHBOURS: torch.tensor(index, device=device),
        NEIGHBOUR_BIAS: torch.tensor(bias, device=device),
    }


def _circles(lanes: Sequence[Lane[Any]]) -> list[list[int]]:
    """For each row of the denoiser call, the rows it attends to: itself, and the frames of its own lane."""
    circles: list[list[int]] = []
    for lane in lanes:
        circles += _circle(lane, len(circles), lane.layout.rows)
    for lane in lanes:
        circles += _circle(lane, len(circles), lane.layout.negative_rows)
    return circles


def _circle(lane: Lane[Any], start: int, count: int) -> list[list[int]]:
    present = [start + i for i, there in enumerate(lane.occupied()[:count]) if there]
    rows = range(start, start + count)
    if not lane.layout.cross_frame:
        return [[row] for row in rows]
    return [present if row in present else [row] for row in rows]


def gather(value: Tensor, index: Tensor) -> Tensor:
    """Tokens of each row's neighbours, one behind the other: (rows, tokens, d) -> (rows, width*tokens, d)."""
    rows, width = index.shape
    return value[index].reshape(rows, width * value.shape[1], value.shape[2])


def token_bias(bias: Tensor, tokens: int) -> Tensor:
    """The bias of each neighbour for each of its tokens: (rows, width) -> (rows, 1, 1, width*tokens)."""
    return bias.repeat_interleave(tokens, dim=1)[:, None, None, :]
