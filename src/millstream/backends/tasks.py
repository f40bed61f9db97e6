"""A tick in tasks: what enters is encoded, each row denoised, what is guided put together, what leaves decoded.

Within a tick rows do not need each other. Threads that compute a network together wait for one another at each of its
many small layers; those that have tasks of their own do not. And a row's graph knows nothing of the stream that the row
is of: one engine serves every number of steps, frames and streams, and every guidance.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from millstream.backends.plain import Parts, Signature
from millstream.core.graph import Form, Inputs, LaneForm, Occupied, TickGraph, estimate, moved, noised
from millstream.core.rows import Rows

# What tasks call. Rows of the later half of the stages have a graph apart in engines that measured their ranges, for in
# less noise these are narrower: else ten steps of integers lose 3 dB. In other engines theirs is that of all rows.
ENTER, ROW, LATE, GUIDE, LEAVE, WHOLE = "enter", "row", "late row", "guide", "leave", "whole"
ROWS = {ROW, LATE, WHOLE}
COSTS = {ENTER: 0.3, ROW: 1.0, LATE: 1.0, GUIDE: 0.0, LEAVE: 0.5, WHOLE: 1.0}  # in rows of the embedded denoiser

# What tasks share. All but the pictures are latents, (rows, h, w, c), with a place for every row of the tick.
F, X_NEXT, REFERENCE, X, Z, CLEAN, PICTURES = "f", "x_next", "reference", "x", "z", "clean", "pictures"
LATENTS = (F, X_NEXT, REFERENCE)  # those that a tick makes

Graphs: TypeAlias = dict[str, Callable[..., tuple[Tensor, ...]]]


class Place(NamedTuple):
    """Rows of something that tasks share."""

    name: str
    rows: slice


@dataclass(frozen=True)
class Task:
    """One call of a graph: for the sake of which rows, by lane and row, what it reads and what it writes.

    It reads parts of a tick's inputs, where they lie, and what other tasks wrote; what is written nowhere is let go of.
    """

    graph: str
    rows: Sequence[tuple[int, int]]
    reads: Sequence[Tensor | Place]
    writes: Sequence[Place | None]

    def needed(self, occupied: Occupied) -> bool:
        """Whether there is a frame in one of its rows."""
        return any(occupied[lane][row] for lane, row in self.rows)


def together(form: Form) -> bool:
    """Whether rows need each other, as with cross-frame attention; such a tick has an engine of its own."""
    return any(lane.layout.cross_frame for lane in form)


def tasks(form: Form, signature: Signature, inputs: Inputs) -> list[Task]:
    """The tasks of a tick, each behind those whose results it reads."""
    made, row, picture = [], 0, 0
    if together(form):
        marks = [(place, row) for place, lane in enumerate(form) for row in range(lane.layout.rows)]
        everything = slice(0, len(marks))
        made.append(Task(WHOLE, marks, signature.flatten(inputs), [Place(name, everything) for name in LATENTS]))
    for place, lane in enumerate(form):
        if not together(form):
            made += _rows(place, lane, inputs.lanes[place], inputs.entering.get(place), row)
        made += _leaving(place, lane, row, picture)
        row, picture = row + lane.layout.rows, picture + lane.leaving
    return made


def after(made: Sequence[Task]) -> list[set[int]]:
    """For each task those that it has to wait for."""
    writers = {row: i for i, task in enumerate(made) for place in task.writes if place for row in _each(place)}
    return [{writers[row] for place in task.reads if isinstance(place, Place) for row in _each(place)} for task in made]


def urgency(made: Sequence[Task]) -> list[float]:
    """For each task how long it takes until what waits for it is done too."""
    rest = [0.0] * len(made)
    for task, before, own in reversed(list(zip(made, after(made), range(len(made)), strict=True))):
        rest[own] += COSTS[task.graph]
        for i in before:
            rest[i] = max(rest[i], rest[own])
    return rest


def kept(form: Form) -> list[tuple[int, slice, slice]]:
    """Rows whose reference stays what it is, which no task makes anew: their lane, their rows there and in the tick."""
    found, row = [], 0
    for place, lane in enumerate(form if not together(form) else ()):
        first = max(lane.layout.negative_rows, lane.entering)
        found.append((place, slice(first, lane.layout.rows), slice(row + first, row + lane.layout.rows)))
        row += lane.layout.rows
    return found


def width(form: Form) -> int:
    """How many tasks can run side by side."""
    return 1 if together(form) else sum(lane.layout.rows + lane.layout.negative_rows for lane in form)


def graphs(networks: Parts, form: Form, signature: Signature) -> Graphs:
    """What tasks call: graphs of a row, or of a whole tick, for the form of one whose rows need each other."""
    names = sorted(signature.unflatten(signature.zeros()).lanes[0].cond)

    def enter(pixels: Tensor, noise: Tensor, coefficients: Tensor) -> tuple[Tensor, ...]:
        z = networks.encode(pixels).to(noise)
        return channels_last(noised(z, channels_first(noise), coefficients)), channels_last(z)

    def row(x: Tensor, reference: Tensor, noise: Tensor, coefficients: Tensor, *cond: Tensor) -> tuple[Tensor, ...]:
        output = networks.denoise(channels_first(x), coefficients[:, 0], dict(zip(names, cond, strict=True))).to(x)
        clean = estimate(channels_first(x), coefficients, output)
        f, x_next = moved(channels_first(x), channels_first(noise), coefficients, clean, channels_first(reference))
        return channels_last(f), channels_last(x_next), channels_last(clean)

    def guide(clean: Tensor, reference: Tensor, x: Tensor, noise: Tensor, coefficients: Tensor) -> tuple[Tensor, ...]:
        f, x_next = moved(
            channels_first(x), channels_first(noise), coefficients, channels_first(clean), channels_first(reference)
        )
        return channels_last(f), channels_last(x_next)

    def leave(f: Tensor) -> tuple[Tensor, ...]:
        return (networks.decode(channels_first(f)),)

    def whole(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(channels_last(each) for each in TickGraph(networks, form).latents(signature.unflatten(tensors)))

    if together(form):
        return {WHOLE: whole, LEAVE: leave}
    return {ENTER: enter, ROW: row, LATE: row, GUIDE: guide, LEAVE: leave}


def run(made: Iterable[Task], of: Graphs) -> Iterator[tuple[Task, Sequence[Tensor], Sequence[Tensor]]]:
    """Compute the tasks by PyTorch one after another; give with each what it read and what it made."""
    shared: dict[tuple[str, int], Tensor] = {}
    for task in made:
        read = [
            torch.stack([shared[row] for row in _each(each)]) if isinstance(each, Place) else each
            for each in task.reads
        ]
        results = of[task.graph](*read)
        for place, result in zip(task.writes, results, strict=True):
            if place:
                shared.update(zip(_each(place), result, strict=True))
        yield task, read, results


def channels_last(latents: Tensor) -> Tensor:
    """Latents (rows, c, h, w) as (rows, h, w, c), contiguous: where they lie, if they lie so."""
    return latents.permute(0, 2, 3, 1).contiguous()


def channels_first(latents: Tensor) -> Tensor:
    """Latents (rows, h, w, c) as (rows, c, h, w), where they lie."""
    return latents.permute(0, 3, 1, 2)


def _rows(place: int, lane: LaneForm, rows: Rows, entering: Tensor | None, first: int) -> Iterator[Task]:
    for i in range(lane.layout.rows):
        own, at, mark = slice(i, i + 1), slice(first + i, first + i + 1), [(place, i)]
        guided = i < lane.layout.negative_rows
        graph = LATE if 2 * (i // lane.layout.frames) >= lane.layout.stages > 1 else ROW
        x: Tensor | Place = channels_last(rows.x[own])
        reference: Tensor | Place = channels_last(rows.reference[own])
        noise, coefficients = channels_last(rows.noise[own]), rows.coefficients[own]
        if entering is not None and i < lane.entering:
            x, reference = Place(X, at), Place(Z if guided else REFERENCE, at)
            yield Task(ENTER, mark, [entering[own], channels_last(rows.entry_noise[own]), coefficients], [x, reference])
        cond, negative = ([named[name][own] for name in sorted(named)] for named in (rows.cond, rows.negative))
        read, moves = [x, reference, noise, coefficients], [Place(F, at), Place(X_NEXT, at)]
        if guided:
            clean, estimated = Place(CLEAN, at), Place(REFERENCE, at)
            yield Task(graph, mark, [*read, *cond], [None, None, clean])
            yield Task(graph, mark, [*read, *negative], [None, None, estimated])
            yield Task(GUIDE, mark, [clean, estimated, x, noise, coefficients], moves)
        else:
            yield Task(graph, mark, [*read, *cond], [*moves, None])


def _leaving(place: int, lane: LaneForm, first: int, picture: int) -> Iterator[Task]:
    last = lane.layout.rows - lane.layout.frames
    for i in range(lane.leaving):
        f = Place(F, slice(first + last + i, first + last + i + 1))
        yield Task(LEAVE, [(place, last + i)], [f], [Place(PICTURES, slice(picture + i, picture + i + 1))])


def _each(place: Place) -> Iterator[tuple[str, int]]:
    return ((place.name, row) for row in range(place.rows.start, place.rows.stop))
