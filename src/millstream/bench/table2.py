"""Table 2 of StreamDiffusion (arXiv 2312.12491): residual guidance against full guidance, by steps.

A tick of R rows costs A + R*r: A is the autoencoder and whatever else does not grow with the rows, r a row. Full
guidance has 2n rows, one-time negative n + 1, self-negative n. So the most that a mode can gain over full guidance is
(A + 2n*r) / (A + rows*r). A and r come from two ticks without guidance, of n and of 2n rows, timed in the same turns.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from millstream.bench import systems
from millstream.bench.report import Row, Table
from millstream.bench.setup import Setup
from millstream.bench.timing import System
from millstream.core.guidance import Mode, negative_rows

NAME = "table2"
STEPS = (1, 2, 3, 4, 5)
MODES: tuple[Mode, ...] = ("full", "one-time-negative", "self-negative")
NONE, TWICE = "none", "none, twice the rows"
GUIDANCE = {"guidance_scale": 1.4, "negative_prompt": "night"}
ABOUT = (
    "Guidance by denoising steps. `ratio` is the time of full guidance over the mode's own, `allowed` what the "
    "measured cost of a row and of all that does not grow with the rows lets it be at most, `share` the one over the "
    "other."
)


class Cost(NamedTuple):
    """Milliseconds of a tick: those of every row, and those that do not grow with the rows."""

    row: float
    fixed: float

    @classmethod
    def between(cls, few: tuple[int, float], many: tuple[int, float]) -> "Cost":
        """The line through two ticks, each its rows and its milliseconds."""
        row = (many[1] - few[1]) / (many[0] - few[0])
        return cls(row, few[1] - few[0] * row)

    def allowed(self, steps: int, mode: Mode) -> float:
        """The most that a mode can gain over full guidance."""
        full, own = (self.fixed + self.row * rows(steps, guidance) for guidance in ("full", mode))
        return full / own


def rows(steps: int, mode: Mode) -> int:
    """Rows of a tick of one frame."""
    return steps + negative_rows(mode, steps, 1)


def measure(setup: Setup) -> Table:
    """Every mode at every number of steps, on the fastest back end."""
    made = [row for steps in STEPS for row in _of_steps(setup, steps)]
    backend = setup.case(1, setup.fastest).label
    return Table(NAME, ABOUT, "full", made, [f"All on {backend}, guidance scale {GUIDANCE['guidance_scale']}."])


def _of_steps(setup: Setup, steps: int) -> list[Row]:
    field: list[System] = [
        systems.millstream(setup.case(steps, setup.fastest, GUIDANCE, guidance=mode), mode) for mode in MODES
    ]
    field.append(systems.millstream(setup.case(steps, setup.fastest), NONE))
    field.append(systems.millstream(setup.case(2 * steps, setup.fastest), TWICE))
    raced = setup.race(NAME, steps, field).rows
    return with_ratios(steps, {row.system: row for row in raced})


def with_ratios(steps: int, raced: Mapping[str, Row]) -> list[Row]:
    """The rows of one number of steps, by system, with what they say of guidance."""
    cost = Cost.between((steps, raced[NONE].ms_median), (2 * steps, raced[TWICE].ms_median))
    full = raced["full"].ms_median
    figures: dict[str, dict[str, float | None]] = {NONE: {"row_ms": cost.row, "fixed_ms": cost.fixed}, TWICE: {}}
    for mode in MODES:
        ratio, allowed = full / raced[mode].ms_median, cost.allowed(steps, mode)
        figures[mode] = {"ratio": ratio, "allowed": allowed, "share": ratio / allowed}
    return [replace(row, figures=figures[system]) for system, row in raced.items()]
