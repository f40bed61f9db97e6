"""One tick: one denoiser call over the rows of every stream, then every row moves one stage on.

StreamDiffusion (arXiv 2312.12491), section 3.1 (Stream Batch) and 3.3 (residual classifier-free guidance).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from millstream.core.crossframe import neighbours
from millstream.core.guidance import Weights
from millstream.core.rows import Conditioning, Denoiser, Group, Lane, Leaving, Rows
from millstream.core.schedule import Stages

Tag = TypeVar("Tag")

KEPT = 64  # forms of a batch whose index is kept


class Step(NamedTuple):
    """What one step makes of the rows: clean estimates f, the next stage's latents, and the references."""

    latents: Float[Tensor, "rows c h w"]
    x_next: Float[Tensor, "rows c h w"]
    reference: Float[Tensor, "rows c h w"]


def tick(
    denoise: Denoiser, lanes: Sequence[Lane[Tag]], entering: Sequence[Group[Tag] | None]
) -> list[Leaving[Tag] | None]:
    """Take in one group (or a bubble, None) per lane, call the denoiser once, and give what leaves each lane.

    Lanes may differ in stages, frames, guidance and parameters; they agree in the latent's shape and in the names
    and shapes of the conditioning. A frame leaves `stages - 1` ticks after it entered.
    """
    for lane, group in zip(lanes, entering, strict=True):
        lane.admit(group)
    result = step(denoise, [lane.rows for lane in lanes], neighbours(lanes))
    counts = [lane.layout.rows for lane in lanes]
    parts = zip(*(torch.split(part, counts) for part in result), strict=True)
    return [lane.advance(*part) for lane, part in zip(lanes, parts, strict=True)]


def step(denoise: Denoiser, lanes: Sequence[Rows], attention: Conditioning) -> Step:
    """The arithmetic of a tick, tensors only: call, guide, apply the boundary, move on.

    `attention` holds what cross-frame attention needs to know of the rows; empty where no stream uses it.
    """
    rows = join(lanes)
    counts = tuple((len(lane.x), _count(lane.negative)) for lane in lanes)
    kept, companions = len(rows.x), companion_index(counts, rows.x.device)
    output = call(denoise, rows, companions, attention)
    columns = [column[:, None, None, None] for column in rows.coefficients.unbind(1)]
    c, g = Stages(*columns[: len(Stages._fields)]), Weights(*columns[len(Stages._fields) :])
    clean = c.p_x * rows.x + c.p_o * output[:kept]
    reference = rows.reference
    if len(companions):
        negative = c.p_x[companions] * rows.x[companions] + c.p_o[companions] * output[kept:]
        reference = reference.index_copy(0, companions, negative)
    guided = g.g_c * clean + g.g_r * reference + g.g_x * rows.x
    f = c.c_out * guided + c.c_skip * rows.x
    x_next = c.k_f * f + c.k_noise * rows.noise + c.k_eps * (rows.x - c.a * guided) / c.b
    return Step(f, x_next, reference)


def call(denoise: Denoiser, rows: Rows, companions: Tensor, attention: Conditioning) -> Tensor:
    """Run the rows, and behind them the companions once more under the negative prompt."""
    if not len(companions):
        return denoise(rows.x, rows.t, rows.cond | attention).to(rows.x)
    x = torch.cat([rows.x, rows.x[companions]])
    t = torch.cat([rows.t, rows.t[companions]])
    cond = {name: torch.cat([value, rows.negative[name]]) for name, value in rows.cond.items()}
    return denoise(x, t, cond | attention).to(rows.x)


def join(lanes: Sequence[Rows]) -> Rows:
    """The rows of all lanes as one; a single lane's own tensors where there is one."""
    if len(lanes) == 1:
        return lanes[0]
    with_negative = [lane.negative for lane in lanes if _count(lane.negative)]
    return Rows(
        x=torch.cat([lane.x for lane in lanes]),
        reference=torch.cat([lane.reference for lane in lanes]),
        noise=torch.cat([lane.noise for lane in lanes]),
        coefficients=torch.cat([lane.coefficients for lane in lanes]),
        cond=_concatenate([lane.cond for lane in lanes]),
        negative=_concatenate(with_negative),
    )


@lru_cache(KEPT)
def companion_index(counts: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Indices, among the rows of all lanes, of those run a second time under the negative prompt.

    `counts` are (rows, of them the first so many run twice) of each lane. Kept, for a new tensor each tick would make
    the device wait for the host.
    """
    index: list[int] = []
    start = 0
    for rows, negative in counts:
        index += range(start, start + negative)
        start += rows
    return torch.tensor(index, dtype=torch.long, device=device)


def _count(cond: Conditioning) -> int:
    return len(next(iter(cond.values()))) if cond else 0


def _concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}
