"""Measuring systems side by side: short turns, round robin, so that a drift of the machine hits all alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np

from millstream.bench.report import Row
from millstream.frame import Pixels

TURN = 12  # timed frames before the next system has its turn
LEAD = 3  # untimed frames before them


class Timed(NamedTuple):
    """What came out when one picture went in, if anything did, and the seconds that took."""

    seconds: float
    pixels: Pixels | None


class System(Protocol):
    """One of the compared programs: uint8 RGB in, uint8 RGB out, one picture a call."""

    @property
    def name(self) -> str:
        """Its column in the report."""

    @property
    def delay(self) -> int:
        """Calls between a picture going in and its own coming out."""

    def process(self, pixels: Pixels) -> Timed:
        """Send one picture through, and time it."""


@dataclass(frozen=True)
class Local:
    """A system that is a function of this process."""

    name: str
    function: Callable[[Pixels], Pixels | None]
    delay: int = 0

    def process(self, pixels: Pixels) -> Timed:
        """Send one picture through, and time it."""
        start = perf_counter()
        result = self.function(pixels)
        return Timed(perf_counter() - start, result)


@dataclass(frozen=True)
class Batch:
    """A system that does `frames` frames a call; the time is that of one of them, what comes out stays there."""

    name: str
    function: Callable[[Pixels], object]
    frames: int
    delay: int = 0

    def process(self, pixels: Pixels) -> Timed:
        """Do all frames, and time them."""
        start = perf_counter()
        self.function(pixels)
        return Timed((perf_counter() - start) / self.frames, None)


class Summary(NamedTuple):
    """Milliseconds a frame: median and quartiles; frames a second at the median."""

    ms_median: float
    ms_p25: float
    ms_p75: float
    fps: float


def summarise(seconds: Sequence[float]) -> Summary:
    """Summarise the times of at least one frame. Quartiles are interpolated linearly."""
    p25, median, p75 = (float(value) for value in np.percentile(np.asarray(seconds) * 1e3, (25, 50, 75)))
    return Summary(median, p25, p75, 1e3 / median)


def warm_up(system: System, pictures: Sequence[Pixels]) -> list[Pixels]:
    """Send pictures through untimed; give the output of each, in their order."""
    inputs = [*pictures, *[pictures[-1]] * system.delay]
    outputs = [system.process(pixels).pixels for pixels in inputs][system.delay :]
    return [pixels for pixels in outputs if pixels is not None]


def measure(systems: Sequence[System], pictures: Sequence[Pixels], count: int) -> dict[str, list[float]]:
    """Time `count` frames of every system, in turns; give the seconds by name.

    Every turn begins with frames that are not timed: they pay for what the others left in the caches, and for their
    threads, which wait for more work for a while before they rest.
    """
    seconds: dict[str, list[float]] = {system.name: [] for system in systems}
    for start in range(0, count, TURN):
        for system in systems:
            times = _turn(system, pictures, start, min(TURN, count - start))
            seconds[system.name] += times[LEAD:]
    return seconds


class Place(NamedTuple):
    """Where a row stands: its table, its steps, and what else was varied."""

    table: str
    steps: int
    case: str


class Raced(NamedTuple):
    """A row of each system, and the pictures that each made of the same ones."""

    rows: list[Row]
    outputs: dict[str, list[Pixels]]


def race(place: Place, systems: Sequence[System], pictures: Sequence[Pixels], count: int) -> Raced:
    """Warm every system up, then time `count` frames of each, in turns."""
    outputs = {system.name: warm_up(system, pictures) for system in systems}
    seconds = measure(systems, pictures, count)
    table, steps, case = place
    return Raced([Row(table, name, steps, case, *summarise(times)) for name, times in seconds.items()], outputs)


def _turn(system: System, pictures: Sequence[Pixels], start: int, count: int) -> list[float]:
    places = range(start, start + LEAD + count)
    return [system.process(pictures[place % len(pictures)]).seconds for place in places]
