"""`millstream bench`: image to image, the engine and its peers side by side in one run."""

import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.errors import BadInputError, OutputError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from millstream.options import Parser

MAX_FRAMES = 10_000
MAX_STEPS = 25  # the half of a 50-step schedule that is passed at strength 1/2


def add_parser(commands: "_SubParsersAction[Parser]") -> None:
    """Add the command; it sets `run`, a function from the namespace to an exit code."""
    parser = commands.add_parser("bench", help="measure the engine and its peers, side by side in one run")
    parser.add_argument("--model", default="embedded", help="embedded, a diffusers folder or a hub id")
    parser.add_argument(
        "--steps", type=_within(MAX_STEPS), nargs="+", default=[1, 2, 4], metavar="N", help="default: 1 2 4"
    )
    parser.add_argument(
        "--frames", type=_within(MAX_FRAMES), default=100, metavar="N", help="timed per system (default: 100)"
    )
    parser.add_argument("--size", type=int, nargs=2, metavar=("W", "H"), help="default: the model's own")
    parser.add_argument(
        "--streamdiffusion", metavar="PYTHON", help="interpreter of an environment that has PyPI's streamdiffusion"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="write the report as Markdown")
    parser.set_defaults(run=run)


def run(options: Namespace) -> int:
    """Measure, print the report, and write what was asked for. Raises MillstreamError where it cannot."""
    _refuse(options)

    from millstream.bench.compare import Plan, compare  # noqa: PLC0415
    from millstream.bench.report import write  # noqa: PLC0415

    size = tuple(options.size) if options.size else None
    report = compare(Plan(options.model, options.steps, options.frames, size, options.streamdiffusion))
    sys.stdout.write(report.markdown())
    if options.json:
        write(options.json, report.json())
    if options.output:
        write(options.output, report.markdown())
    return 0


def _refuse(options: Namespace) -> None:
    """Refuse before the measurement what would fail after it."""
    if Path(options.model).is_file():
        raise BadInputError(f"{options.model}: the peers read no single files; give a diffusers folder or a hub id")
    for path in filter(None, (options.json, options.output)):
        if not path.absolute().parent.is_dir():
            raise OutputError(f"{path}: no such folder; make it first")


def _within(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise ArgumentTypeError(f"give 1 to {most} (got '{text}')")
        return int(text)

    return read
