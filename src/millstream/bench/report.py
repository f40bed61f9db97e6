"""The one writer of benchmark reports: rows and the machine, as JSON and as Markdown."""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from millstream.errors import OutputError

LIBRARIES = ("torch", "diffusers", "transformers", "openvino")

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Row:
    """One system's figures in one case: milliseconds a frame, and frames a second at the median.

    `figures` are what a table has beside the times, by name; one that is infinite is None.
    """

    table: str
    system: str
    steps: int
    case: str
    ms_median: float
    ms_p25: float
    ms_p75: float
    fps: float
    figures: Figures = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """The row as one flat object, for programs."""
        facts = {**vars(self), **self.figures}
        del facts["figures"]
        return facts


@dataclass(frozen=True)
class Table:
    """One comparison: what was compared, its rows, and the system that speeds are relative to."""

    name: str
    about: str
    baseline: str
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """The table for readers, its systems as columns."""
        systems = list(dict.fromkeys(row.system for row in self.rows))
        relative = f"; speed relative to {self.baseline}" if self.baseline in systems else ""
        lines = [
            f"## {self.name}",
            "",
            f"{self.about} Milliseconds a frame: median (quartiles); frames a second{relative}.",
            "",
            f"| case | steps | {' | '.join(systems)} |",
            f"| --- | --- |{' --- |' * len(systems)}",
            *self._lines(systems),
            *([""] if self.notes else []),
            *(f"- {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    def _lines(self, systems: Sequence[str]) -> Iterator[str]:
        for case, steps in dict.fromkeys((row.case, row.steps) for row in self.rows):
            cells = {row.system: row for row in self.rows if (row.case, row.steps) == (case, steps)}
            baseline = cells.get(self.baseline)
            shown = [_cell(cells[system], baseline) if system in cells else "" for system in systems]
            yield f"| {case} | {steps} | {' | '.join(shown)} |"


@dataclass(frozen=True)
class Report:
    """A run: where it ran, its tables, and for readers what was run."""

    machine: dict[str, Any]
    setting: str
    tables: Sequence[Table]

    def json(self) -> str:
        """The machine and the rows of all tables, for programs."""
        rows = [row.facts() for table in self.tables for row in table.rows]
        return json.dumps({"machine": self.machine, "rows": rows}, indent=2, allow_nan=False) + "\n"

    def markdown(self, plots: Mapping[str, str] | None = None) -> str:
        """The whole report, for readers; `plots` gives the file that shows a table, by its name."""
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        parts = ["# Benchmark", self.setting, f"Machine: {machine}."]
        for table in self.tables:
            parts.append(table.markdown())
            if file := (plots or {}).get(table.name):
                parts.append(f"![{table.name}]({file})")
        return "\n\n".join(parts) + "\n"


def describe_machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on: the day, the processor or card, its memory, and the libraries' versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": date.today().isoformat(),
        "cpu": torch.cpu.get_capabilities().get("cpu_name") or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": f"{memory / 2**30:.1f} GiB",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
    }


def write(path: Path, text: str) -> None:
    """Write a report. Raises OutputError where the file cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; give a file in a folder that can be written") from None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _cell(row: Row, baseline: Row | None) -> str:
    shown = [f"{row.ms_median:.1f} ({row.ms_p25:.1f}-{row.ms_p75:.1f})", f"{row.fps:.1f}/s"]
    if baseline:
        shown.append(f"{baseline.ms_median / row.ms_median:.2f}x")
    shown += [f"{name} {'infinite' if value is None else f'{value:.4g}'}" for name, value in row.figures.items()]
    return "; ".join(shown)
