"""The one writer of benchmark reports: rows and the machine, as JSON and as Markdown."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from millstream.errors import OutputError

LIBRARIES = ("torch", "diffusers", "transformers")
BASELINE = "diffusers"


@dataclass(frozen=True)
class Row:
    """One system's figures in one case: milliseconds a frame, and frames a second at the median."""

    table: str
    system: str
    steps: int
    case: str
    ms_median: float
    ms_p25: float
    ms_p75: float
    fps: float


@dataclass(frozen=True)
class Report:
    """A run: where it ran, its rows, and for readers what was run and what they must know."""

    machine: dict[str, Any]
    rows: Sequence[Row]
    setting: str
    notes: Sequence[str]

    def json(self) -> str:
        """The machine and the rows, for programs."""
        return json.dumps({"machine": self.machine, "rows": [asdict(row) for row in self.rows]}, indent=2) + "\n"

    def markdown(self) -> str:
        """The whole report, for readers: each table with its systems as columns."""
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        names = dict.fromkeys(row.table for row in self.rows)
        tables = [_table(name, [row for row in self.rows if row.table == name]) for name in names]
        notes = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join(["# Benchmark", self.setting, f"Machine: {machine}.", *tables, notes]) + "\n"


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
        **{name: version(name) for name in LIBRARIES},
    }


def write(path: Path, text: str) -> None:
    """Write a report. Raises OutputError where the file cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; give a file in a folder that can be written") from None


def _table(name: str, rows: Sequence[Row]) -> str:
    systems = list(dict.fromkeys(row.system for row in rows))
    cases = dict.fromkeys((row.case, row.steps) for row in rows)
    lines = [
        f"## {name}",
        "",
        f"Milliseconds a frame: median (quartiles); frames a second; speed relative to {BASELINE}.",
        "",
        f"| case | steps | {' | '.join(systems)} |",
        f"| --- | --- |{' --- |' * len(systems)}",
    ]
    for case, steps in cases:
        cells = {row.system: row for row in rows if (row.case, row.steps) == (case, steps)}
        shown = [_cell(cells[system], cells.get(BASELINE)) if system in cells else "" for system in systems]
        lines.append(f"| {case} | {steps} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _cell(row: Row, baseline: Row | None) -> str:
    figures = f"{row.ms_median:.1f} ({row.ms_p25:.1f}-{row.ms_p75:.1f}); {row.fps:.1f}/s"
    return f"{figures}; {baseline.ms_median / row.ms_median:.2f}x" if baseline else figures
