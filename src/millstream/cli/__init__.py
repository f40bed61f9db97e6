"""The command line. What can be refused is refused before torch is imported and a model is loaded."""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version

from millstream import doctor
from millstream.bench.cli import add_parser as add_bench
from millstream.cli import cache, convert, live, txt2img
from millstream.cli.common import INTERRUPTED, say
from millstream.errors import MillstreamError
from millstream.options import Parser
from millstream.server.cli import add_parser as add_serve


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; give its exit code. What the user can mend is one line on stderr."""
    for library in ("TRANSFORMERS", "DIFFUSERS"):  # read when they are imported; their hints are not for users
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    _tell_progress()
    gc.disable()  # importing the libraries makes it walk a growing heap a thousand times: a second of a start
    try:
        options = make_parser().parse_args(argv)
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            code: int = options.run(options)
    except MillstreamError as error:
        return say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return say("stopped", INTERRUPTED)
    finally:
        gc.enable()
    return code


def make_parser() -> Parser:
    """All commands with their options; each sets `run`, a function from the namespace to an exit code."""
    parser = Parser(prog="millstream", description="Pictures in, pictures that follow a prompt out.")
    parser.add_argument("--version", action="version", version=f"millstream {version('millstream')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_serve(commands)
    live.add_parser(commands)
    convert.add_parser(commands)
    txt2img.add_parser(commands)
    doctor.add_parser(commands)
    cache.add_parser(commands)
    add_bench(commands)
    return parser


class _Said(logging.Handler):
    """What the library tells of its progress, as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        say(record.getMessage(), 0)


def _tell_progress() -> None:
    log = logging.getLogger("millstream")
    if sys.stderr.isatty() and not log.handlers:
        log.addHandler(_Said())
        log.setLevel(logging.INFO)


def _warn(message: Warning | str, *_: object) -> None:
    """A remark of the library, as one line and not as a place in its source."""
    say(str(message), 0)
