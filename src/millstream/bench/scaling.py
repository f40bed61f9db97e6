"""How a tick grows with its rows: frames taken in together, each one row."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from millstream.bench import systems
from millstream.bench.report import Row, Table
from millstream.bench.setup import Setup
from millstream.bench.timing import Batch
from millstream.feed import Feed
from millstream.frame import Frame, Pixels

NAME = "scaling"
ROWS = (1, 2, 4, 8, 16)
ABOUT = (
    "Batch scaling: one step, so many frames a tick (`frame_buffer`), each one row. `gain` is the speed over one row."
)


def measure(setup: Setup) -> Table:
    """Every number of rows, on the fastest back end, in turns."""
    field = [_system(setup, rows) for rows in ROWS]
    raced = setup.race(NAME, 1, field).rows
    return Table(NAME, ABOUT, "", with_gains(raced, setup.case(1, setup.fastest).label))


def with_gains(raced: Sequence[Row], label: str) -> list[Row]:
    """A row for each number of rows, in their order, the first the one that gains are relative to."""
    first = raced[0].ms_median
    return [
        replace(row, system=label, case=row.system, figures={"rows": rows, "gain": first / row.ms_median})
        for rows, row in zip(ROWS, raced, strict=True)
    ]


def _system(setup: Setup, rows: int) -> Batch:
    engine, session = systems.opened(setup.case(1, setup.fastest, frame_buffer=rows))
    feed, ids = Feed(engine, session, late=engine.asynchronous), count()

    def process(pixels: Pixels) -> None:
        for _ in range(rows):
            feed.take(Frame(next(ids), pixels))

    return Batch(f"{rows} row{'s' * (rows > 1)}", process, rows)
