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
    padded = [circle + [(row, False)] * (width - len(circle)) for row, circle in enumerate(circles)]
    index = [[other for other, _ in circle] for circle in padded]
    bias = [[0.0 if seen else float("-inf") for _, seen in circle] for circle in padded]
    device = lanes[0].rows.x.device
    return {
        NEIGHBOURS: torch.tensor(index, device=device),
        NEIGHBOUR_BIAS: torch.tensor(bias, device=device),
    }


def _circles(lanes: Sequence[Lane[Any]]) -> list[list[tuple[int, bool]]]:
    """For each row of the denoiser call, the rows of its own lane, and whether it attends to them.

    Their number does not depend on which rows are bubbles, so shapes stay while a stream warms up and drains.
    """
    circles: list[list[tuple[int, bool]]] = []
    for lane in lanes:
        circles += _circle(lane, len(circles), lane.layout.rows)
    for lane in lanes:
        circles += _circle(lane, len(circles), lane.layout.negative_rows)
    return circles


def _circle(lane: Lane[Any], start: int, count: int) -> list[list[tuple[int, bool]]]:
    if not lane.layout.cross_frame:
        return [[(start + i, True)] for i in range(count)]
    there = lane.occupied()[:count]
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
