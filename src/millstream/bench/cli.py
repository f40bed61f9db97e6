"""`millstream bench`: the engine and its peers.

`bench paper`: all tables; `bench trace`: where the time goes; `bench live`: how old pictures are when they are seen.
"""

import sys
from argparse import SUPPRESS, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from millstream.errors import BadInputError, OutputError
from millstream.media.sources import DEMO, open_source
from millstream.params import BackendName

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from millstream.bench.live.report import LiveReport
    from millstream.bench.report import Report
    from millstream.bench.setup import Plan
    from millstream.options import Parser

MAX_FRAMES = 10_000
MAX_STEPS = 25  # the half of a 50-step schedule that is passed at strength 1/2
RANDOM = ("sd15", "sd-turbo", "sdxl-turbo")
STEPS, FRAMES = (1, 2, 4), 100
QUICK_FRAMES, PAPER_FRAMES = 12, 40
TRACE_STEPS, TRACE_FRAMES = 2, 60
MAX_SOAK = 1440  # minutes


def add_parser(commands: "_SubParsersAction[Parser]") -> None:
    """Add the command; it sets `run`, a function from the namespace to an exit code."""
    parser = commands.add_parser("bench", help="measure the engine and its peers, side by side in one run")
    nothing = dict.fromkeys(("random", "size", "streamdiffusion", "json", "output", "frames"))
    parser.set_defaults(run=run, model="embedded", source=DEMO, **nothing)
    _add_model(parser)
    _add_peer(parser)
    _add_files(parser)
    shown = " ".join(map(str, STEPS))
    parser.add_argument("--steps", type=_within(MAX_STEPS), nargs="+", metavar="N", help=f"default: {shown}")
    _add_frames(parser, f"{FRAMES}")
    kinds = parser.add_subparsers(metavar="KIND", help="without one: image to image at --steps")
    _add_paper(kinds)
    _add_trace(kinds)
    _add_live(kinds)


def run(options: Namespace) -> int:
    """Measure image to image, print the report, and write what was asked for. Raises MillstreamError otherwise."""
    _refuse(options)

    from millstream.bench.compare import compare  # noqa: PLC0415
    from millstream.bench.report import write  # noqa: PLC0415

    with _plan(options, FRAMES) as plan:
        report = compare(plan, options.steps or STEPS)
    if options.output:
        write(options.output, report.markdown())
    return _print(options, report)


def paper(options: Namespace) -> int:
    """Measure the paper's tables, print the report, and write what was asked for. Raises MillstreamError otherwise."""
    _refuse(options, unused=["steps"])

    from millstream.bench.paper import ALL, QUICK, measure, write_illustrated  # noqa: PLC0415

    with _plan(options, QUICK_FRAMES if options.quick else PAPER_FRAMES) as plan:
        report = measure(plan, QUICK if options.quick else ALL)
    if options.output:
        write_illustrated(options.output, report)
    return _print(options, report)


def trace(options: Namespace) -> int:
    """Watch a stream, print where a frame's time goes, and write what was asked for. Raises MillstreamError."""
    _refuse(options, unused=["steps", "streamdiffusion", "json", "output"])

    from millstream.bench.report import write  # noqa: PLC0415
    from millstream.bench.setup import Setup  # noqa: PLC0415
    from millstream.bench.trace import trace as watch  # noqa: PLC0415

    with _plan(options, TRACE_FRAMES) as plan:
        setup = Setup.load(plan)
        seen = watch(setup, options.stages, options.backend)
    if options.chrome:
        write(options.chrome, seen.chrome())
    sys.stdout.write(seen.markdown(setup))
    return 0


def live(options: Namespace) -> int:
    """Stream live through the server, print the report, and write what was asked for. Raises MillstreamError."""
    _refuse(options, unused=["steps", "random", "size", "streamdiffusion", "frames"])

    from millstream.bench.live.cases import FULL, QUICK, measure  # noqa: PLC0415
    from millstream.bench.report import write  # noqa: PLC0415

    report = measure(replace(QUICK if options.quick else FULL, soak=options.soak))
    if options.output:
        write(options.output, report.markdown())
    return _print(options, report)


def _add_paper(kinds: "_SubParsersAction[Parser]") -> None:
    parser = kinds.add_parser("paper", help="the tables of StreamDiffusion's paper for this machine, with peers")
    parser.set_defaults(run=paper)
    parser.add_argument("--quick", action="store_true", help="table 1 alone, of fewer frames")
    _add_model(parser)
    _add_peer(parser)
    _add_files(parser)
    _add_source(parser)
    _add_frames(parser, f"{PAPER_FRAMES}; quick: {QUICK_FRAMES}")


def _add_trace(kinds: "_SubParsersAction[Parser]") -> None:
    parser = kinds.add_parser("trace", help="where a frame's time goes, as a table and for Chrome's trace viewer")
    parser.set_defaults(run=trace)
    parser.add_argument(
        "--steps",
        dest="stages",
        type=_within(MAX_STEPS),
        default=TRACE_STEPS,
        metavar="N",
        help=f"default: {TRACE_STEPS}",
    )
    parser.add_argument("--backend", choices=get_args(BackendName), default="auto", help="default: auto")
    parser.add_argument(
        "--chrome", type=Path, metavar="FILE", help="write the trace as JSON; open it in chrome://tracing"
    )
    _add_model(parser)
    _add_source(parser)
    _add_frames(parser, f"{TRACE_FRAMES}")


def _add_live(kinds: "_SubParsersAction[Parser]") -> None:
    parser = kinds.add_parser("live", help="how old pictures are when they are seen, through the server and its page")
    parser.set_defaults(run=live)
    parser.add_argument("--quick", action="store_true", help="5 seconds a case, and 20 clients that come and go")
    parser.add_argument(
        "--soak",
        type=_within(MAX_SOAK),
        metavar="MINUTES",
        help="also watch memory and age, so long each of the transport and of the model",
    )
    _add_files(parser)


# What is given before the kind counts too: these options have no defaults of their own that would replace it.


def _add_model(parser: "Parser") -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--model", default=SUPPRESS, help="embedded, a diffusers folder or a hub id")
    group.add_argument(
        "--random",
        type=_random,
        default=SUPPRESS,
        metavar="FORM",
        help=f"an architecture with random weights, for speed alone: {', '.join(RANDOM)}",
    )
    parser.add_argument(
        "--size", type=int, nargs=2, default=SUPPRESS, metavar=("W", "H"), help="default: the model's own"
    )


def _add_peer(parser: "Parser") -> None:
    parser.add_argument(
        "--streamdiffusion",
        default=SUPPRESS,
        metavar="PYTHON",
        help="interpreter of an environment that has PyPI's streamdiffusion",
    )


def _add_files(parser: "Parser") -> None:
    parser.add_argument("--json", type=Path, default=SUPPRESS, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--output", type=Path, default=SUPPRESS, metavar="FILE.md", help="write the report as Markdown")


def _add_source(parser: "Parser") -> None:
    parser.add_argument(
        "--source", default=SUPPRESS, metavar="CLIP", help=f"moving pictures: a video or a folder (default: {DEMO})"
    )


def _add_frames(parser: "Parser", shown: str) -> None:
    parser.add_argument(
        "--frames", type=_within(MAX_FRAMES), default=SUPPRESS, metavar="N", help=f"timed per system (default: {shown})"
    )


def _refuse(options: Namespace, unused: Sequence[str] = ()) -> None:
    """Refuse before the measurement what would fail after it, and options of other kinds given before this one."""
    for name in unused:
        if getattr(options, name):
            raise BadInputError(f"--{name}: is not of this kind of bench; leave it out, or give it behind the kind")
    if options.random and options.model != "embedded":
        raise BadInputError("--random: is a model of its own; leave --model out")
    if Path(options.model).is_file():
        raise BadInputError(f"{options.model}: the peers read no single files; give a diffusers folder or a hub id")
    for name in ("json", "output", "chrome"):
        path = getattr(options, name, None)
        if path and not path.absolute().parent.is_dir():
            raise OutputError(f"{path}: no such folder; make it first")
    open_source(options.source).close()


@contextmanager
def _plan(options: Namespace, frames: int) -> Iterator["Plan"]:
    """The plan that was asked for; a random model lives as long as it does."""
    from millstream.bench import random_model  # noqa: PLC0415
    from millstream.bench.setup import Plan  # noqa: PLC0415

    size = tuple(options.size) if options.size else None
    plan = Plan(options.model, options.frames or frames, size, options.streamdiffusion, options.source)
    if not options.random:
        yield plan
        return
    with random_model.folder(random_model.FORMS[options.random]) as folder:
        yield replace(plan, model=str(folder), label=f"{options.random} with random weights")


def _print(options: Namespace, report: "Report | LiveReport") -> int:
    from millstream.bench.report import write  # noqa: PLC0415

    sys.stdout.write(report.markdown())
    if options.json:
        write(options.json, report.json())
    return 0


def _random(name: str) -> str:
    if name not in RANDOM:
        raise ArgumentTypeError(f"give one of {', '.join(RANDOM)} (got '{name}')")
    return name


def _within(most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise ArgumentTypeError(f"give 1 to {most} (got '{text}')")
        return int(text)

    return read
