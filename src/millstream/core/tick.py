"""One tick: every lane takes in what enters, the graph computes all rows at once, every row moves one stage on."""

from collections.abc import Sequence
from typing import TypeVar

from millstream.core.crossframe import neighbours
from millstream.core.graph import Form, Inputs, LaneForm, Latents, Outputs, TickGraph
from millstream.core.rows import Denoiser, Group, Lane, Leaving

Tag = TypeVar("Tag")


def tick(
    denoise: Denoiser, lanes: Sequence[Lane[Tag]], entering: Sequence[Group[Tag] | None]
) -> list[Leaving[Tag] | None]:
    """Take in one group of latents (or a bubble, None) per lane, call the denoiser once, and give what leaves each.

    Lanes may differ in stages, frames, guidance and parameters; they agree in the latent's shape and in the names
    and shapes of the conditioning. A frame leaves `stages - 1` ticks after it entered.
    """
    graph = TickGraph(Latents(denoise), admit(lanes, entering))
    latents = {place: group.z for place, group in enumerate(entering) if group is not None and group.z is not None}
    return advance(lanes, graph(Inputs(latents, [lane.rows for lane in lanes], neighbours(lanes))))


def admit(lanes: Sequence[Lane[Tag]], entering: Sequence[Group[Tag] | None]) -> Form:
    """Take in a group or a bubble per lane; give what the tick that follows has to do, and no more."""
    for lane, group in zip(lanes, entering, strict=True):
        lane.admit(group)
    return tuple(LaneForm(lane.layout, lane.entering, lane.leaving) for lane in lanes)


def advance(lanes: Sequence[Lane[Tag]], outputs: Outputs) -> list[Leaving[Tag] | None]:
    """Move the rows of every lane one stage on; give what leaves each."""
    counts = [lane.layout.rows for lane in lanes]
    made = outputs.latents, outputs.x_next, outputs.reference
    parts = zip(*(each.split_with_sizes(counts) for each in made), strict=True)
    return [lane.advance(*part) for lane, part in zip(lanes, parts, strict=True)]
