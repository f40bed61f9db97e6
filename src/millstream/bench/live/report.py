"""What `bench live` found: a row for each stream that was watched, with its bounds, as JSON and as Markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from millstream.bench.live.server import Load
from millstream.bench.live.watch import Seen

Figures = dict[str, float]


class Gate(NamedTuple):
    """A bound on one of the figures."""

    figure: str
    sign: Literal["<=", ">="]
    bound: float

    def met(self, figures: Figures) -> bool:
        """Whether it is kept."""
        value = figures[self.figure]
        return value <= self.bound if self.sign == "<=" else value >= self.bound

    def told(self, figures: Figures) -> str:
        """It, and whether it is kept."""
        return f"{self.figure} {self.sign} {self.bound:g}: {'met' if self.met(figures) else 'MISSED'}"


@dataclass(frozen=True)
class Row:
    """One stream or one trial: its case, what was the client, what the pictures travelled in, figures and bounds."""

    case: str
    client: str
    codec: str
    figures: Figures
    gates: Sequence[Gate] = ()

    def facts(self) -> dict[str, Any]:
        """The row as one flat object, for programs; of each bound, whether it is met."""
        gates = [gate._asdict() | {"met": gate.met(self.figures)} for gate in self.gates]
        return {"case": self.case, "client": self.client, "codec": self.codec, **self.figures, "gates": gates}

    def told(self) -> str:
        """Its bounds, for readers."""
        return "; ".join(gate.told(self.figures) for gate in self.gates)


@dataclass(frozen=True)
class LiveReport:
    """A run: where it ran, what was run, the streams, the trials over time, and remarks."""

    machine: dict[str, Any]
    setting: str
    rows: Sequence[Row]
    trials: Sequence[Row]
    remarks: Sequence[str]

    def json(self) -> str:
        """All of it but the setting, for programs."""
        rows, trials = ([row.facts() for row in found] for found in (self.rows, self.trials))
        found = {"machine": self.machine, "rows": rows, "trials": trials, "remarks": list(self.remarks)}
        return json.dumps(found, indent=2, allow_nan=False) + "\n"

    def markdown(self) -> str:
        """The whole report, for readers."""
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        parts = ["# Live", self.setting, f"Machine: {machine}.", _table(self.rows)]
        parts += [f"{row.case}: {_words(row.figures)}. {row.told()}." for row in self.trials]
        parts += [f"- {remark}" for remark in self.remarks]
        return "\n\n".join(parts) + "\n"


def figures_of(seen: Seen, load: Load) -> Figures:
    """Frames a second shown, ages in milliseconds, and percent of one core. Raises MillstreamError without pictures."""
    p50, p95, p99 = np.percentile(seen.shown(), (50, 95, 99)).round(2).tolist()
    return {
        "fps": round(len(seen.ages) / seen.seconds, 2),
        "age_ms_p50": p50,
        "age_ms_p95": p95,
        "age_ms_p99": p99,
        "pictures": len(seen.ages),
        "not_shown": max(0, seen.made - len(seen.ages)),
        "out_of_order": seen.out_of_order,
        "mislabelled": seen.mislabelled,
        **{f"cpu_{name}": round(share, 1) for name, share in load._asdict().items()},
    }


def _table(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    head = ["case", "client", "codec", *names, "bounds"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        cells = [row.case, row.client, row.codec, *(f"{row.figures[name]:g}" for name in names), row.told()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _words(figures: Figures) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in figures.items())
