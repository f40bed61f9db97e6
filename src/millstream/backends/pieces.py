"""A tick in pieces: each is a tick of its own over some of the rows, for a thread of its own.

Within a tick rows do not need each other. Threads that compute a network together wait for one another at each of its
many small layers; those that have rows of their own do not. So pictures that enter are encoded beside what the later
stages denoise, and those that leave are decoded beside the earlier ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, pairwise
from typing import NamedTuple

from millstream.core.graph import Form, Inputs, LaneForm, Occupied
from millstream.core.rows import Rows

ENCODE, DECODE = 0.3, 0.5  # what a picture costs, in rows of the denoiser: those of the embedded model


class Stretch(NamedTuple):
    """Stages of a lane in succession, or frames where it has one stage."""

    place: int
    lane: LaneForm
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """Its rows of the lane."""
        size = unit(self.lane)
        return slice(self.start * size, self.stop * size)

    @property
    def negative(self) -> slice:
        """Those that are run a second time under the negative prompt."""
        return slice(self.rows.start, max(self.rows.start, min(self.rows.stop, self.lane.layout.negative_rows)))

    @property
    def frames(self) -> slice:
        """Which frames of a group are in it."""
        layout = self.lane.layout
        return slice(0, layout.frames) if layout.stages > 1 else slice(self.start, self.stop)

    @property
    def entering(self) -> slice:
        """Which of the pictures that enter do so here."""
        first = self.rows.start < self.lane.layout.frames
        return slice(self.frames.start, max(self.frames.start, min(self.frames.stop, first * self.lane.entering)))

    @property
    def leaving(self) -> slice:
        """Which of the frames that leave do so here."""
        last = length(self.last) > 0
        return slice(self.frames.start, max(self.frames.start, min(self.frames.stop, last * self.lane.leaving)))

    @property
    def last(self) -> slice:
        """Its rows of the lane's last stage."""
        layout, rows = self.lane.layout, self.rows
        return slice(max(rows.start, min(rows.stop, layout.rows - layout.frames)), rows.stop)

    @property
    def form(self) -> LaneForm:
        """It, as a lane."""
        frames, layout = length(self.frames), self.lane.layout
        guidance = layout.guidance if length(self.negative) else "none"
        own = replace(layout, stages=length(self.rows) // frames, frames=frames, guidance=guidance)
        return LaneForm(own, length(self.entering), length(self.leaving))

    def of(self, rows: Rows) -> Rows:
        """Its part of the lane's rows, where they lie."""
        return Rows(
            x=rows.x[self.rows],
            reference=rows.reference[self.rows],
            noise=rows.noise[self.rows],
            entry_noise=rows.entry_noise[self.frames],
            coefficients=rows.coefficients[self.rows],
            cond={name: value[self.rows] for name, value in rows.cond.items()},
            negative={name: value[self.negative] for name, value in rows.negative.items() if length(self.negative)},
        )


@dataclass(frozen=True)
class Piece:
    """Stretches of lanes in succession."""

    stretches: Sequence[Stretch]

    @property
    def form(self) -> Form:
        """What its tick does."""
        return tuple(stretch.form for stretch in self.stretches)

    @property
    def leaves(self) -> bool:
        """Whether pictures leave here."""
        return any(lane.leaving for lane in self.form)

    def needed(self, occupied: Occupied) -> int:
        """How many of its networks, of the tick and then the decoder, have anything to do."""
        own = [(each, occupied[each.place]) for each in self.stretches]
        if not any(any(rows[each.rows]) for each, rows in own):
            return 0
        return 2 if any(any(rows[each.last]) for each, rows in own) else 1

    def of(self, inputs: Inputs) -> Inputs:
        """What it reads of a tick's inputs, where that lies."""
        enter = ((i, each) for i, each in enumerate(self.stretches) if length(each.entering))
        return Inputs(
            entering={i: inputs.entering[each.place][each.entering] for i, each in enter},
            lanes=[each.of(inputs.lanes[each.place]) for each in self.stretches],
            attention=inputs.attention,
        )


def count(form: Form, threads: int) -> int:
    """How many pieces a form's tick makes for so many threads. With cross-frame attention rows need each other."""
    return 1 if any(lane.layout.cross_frame for lane in form) else min(threads, len(_units(form)))


def cut(form: Form, count: int) -> list[Piece]:
    """So many pieces, of which the dearest is as cheap as can be."""
    units = _units(form)
    ends = divided([_cost(unit) for unit in units], count)
    return [Piece(tuple(_joined(units[begin:end]))) for begin, end in pairwise([0, *ends])]


def divided(costs: Sequence[float], count: int) -> Sequence[int]:
    """Where each of so many runs of costs ends, so that the largest sum of one is as small as can be."""

    @cache
    def best(begin: int, count: int) -> tuple[float, tuple[int, ...]]:
        if count == 1:
            return sum(costs[begin:]), (len(costs),)
        runs = ((sum(costs[begin:end]), end, *best(end, count - 1)) for end in range(begin + 1, len(costs) - count + 2))
        return min((max(own, others), (end, *ends)) for own, end, others, ends in runs)

    return best(0, count)[1]


def unit(lane: LaneForm) -> int:
    """How many rows of a lane stay together."""
    return lane.layout.frames if lane.layout.stages > 1 else 1


def length(part: slice) -> int:
    """How many it is of."""
    return int(part.stop - part.start)


def _units(form: Form) -> list[Stretch]:
    return [
        Stretch(place, lane, i, i + 1) for place, lane in enumerate(form) for i in range(lane.layout.rows // unit(lane))
    ]


def _cost(part: Stretch) -> float:
    rows = length(part.rows) + length(part.negative)
    return rows + ENCODE * length(part.entering) + DECODE * length(part.leaving)


def _joined(units: Sequence[Stretch]) -> Iterator[Stretch]:
    for _, group in groupby(units, lambda each: each.place):
        own = list(group)
        yield own[0]._replace(stop=own[-1].stop)
