"""Where engines are built on a CPU: in a process of its own, so that building never holds up the show.

A compiler holds Python's interpreter for a tenth of a second at a time, and a tick beside it needs the interpreter some
fifty times. In another process it cannot be in the way, and a compiler that crashes takes no show with it.

`python -m millstream.backends.workshop` is that process; with `gentle` it takes what the show leaves. From each line
that it reads it takes a folder, builds the job that lies in it, and answers with a line: the reason why it could not,
or nothing.
"""

import math
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from threading import TIMEOUT_MAX, Event, Lock, Timer
from typing import IO

import torch
from torch import Tensor

from millstream.backends import gentle
from millstream.backends.choice import Compiler
from millstream.backends.plain import Parts, Signature, weight_bytes
from millstream.core.graph import Form

IDLE = 60.0  # seconds without work after which the process ends: it holds half a gigabyte
PATIENCE, SLOWEST = 120.0, 1e7  # seconds, and bytes of weights a second, of building with what the show leaves
NICE = 5  # also of the first, beside a show that is eager still
GENTLE = "gentle"
JOB, ENGINE = "job", "engine"


@dataclass(frozen=True)
class Job:
    """An engine to build: `played` are the tick's inputs over real pictures, for a back end that measures them; what a
    tick before them would have made is still to be computed (`calibration.in_flight`).
    """

    backend: Compiler
    networks: Parts
    form: Form
    signature: Signature
    played: Sequence[tuple[Tensor, ...]]

    @property
    def weights(self) -> int:
        """Bytes of the networks."""
        return weight_bytes(self.networks)

    def build(self) -> bytes:
        """Make the engine, here. Raises whatever the compiler raises."""
        for part in self.networks.parts:
            part.eval()
        with torch.no_grad():
            return self.backend.compile(self.networks, self.form, self.signature, self.played)


class Workshop:
    """The process, which begins with the first job. Jobs wait for each other."""

    def __init__(self, idle: float = IDLE, gives_way: bool = False) -> None:
        self._idle, self._arguments = idle, [GENTLE] if gives_way else []
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None
        self._end = Timer(0, self.close)

    def build(self, job: Job, patience: float = math.inf) -> bytes:
        """Make the job's engine there.

        Raises RuntimeError with the reason where it cannot be made, TimeoutError after so many seconds of patience.
        """
        with self._lock, TemporaryDirectory(prefix="millstream-") as folder:
            torch.save(job, Path(folder) / JOB)  # weights as they are, to be mapped and not read
            self._end.cancel()
            reason = self._ask(folder, patience)
            self._end = Timer(self._idle, self.close)
            self._end.daemon = True
            self._end.start()
            if reason:
                raise RuntimeError(reason)
            return (Path(folder) / ENGINE).read_bytes()

    def close(self) -> None:
        """End the process, after the job it is at."""
        with self._lock:
            if self._process is not None:
                self._process.communicate()
                self._process = None

    def _ask(self, folder: str, patience: float) -> str:
        if self._process is None or self._process.poll() is not None:
            self._process = start(self._arguments)
        answer, starved = self._answer(self._process, folder, patience)
        if not answer:
            code, self._process = self._process.wait(), None
            if starved:
                raise TimeoutError
            return f"the compiler ended by itself, exit status {code}"
        return answer.strip()

    def _answer(self, process: "subprocess.Popen[str]", folder: str, patience: float) -> tuple[str, bool]:
        """The line that it answers, empty where it ends instead; and whether it was ended, for it took too long."""
        asked, answers = process.stdin, process.stdout
        assert asked is not None and answers is not None
        starved = Event()

        def give_up() -> None:
            starved.set()
            process.kill()

        end = Timer(min(patience, TIMEOUT_MAX), give_up)
        end.daemon = True
        end.start()
        try:
            print(folder, file=asked, flush=True)
            return answers.readline(), starved.is_set()
        except BrokenPipeError:
            return "", starved.is_set()
        finally:
            end.cancel()


@cache
def workshop(gives_way: bool = False) -> Workshop:
    """That of this process, and the one that gives way."""
    return Workshop(gives_way=gives_way)


def build(job: Job) -> bytes:
    """Make the job's engine, beside a show with what that leaves. Raises RuntimeError where it cannot be made."""
    if gentle.asked():
        with suppress(TimeoutError):
            return workshop(gives_way=True).build(job, PATIENCE + job.weights / SLOWEST)
    return workshop().build(job)


def start(arguments: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Begin the process, which finds modules where this one does."""
    paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return subprocess.Popen(
        [sys.executable, "-m", __name__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": paths},
    )


def attempt(folder: Path) -> str:
    """Build the job in a folder; the reason in one line where that fails, else nothing."""
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch, for its own tree structures
            job: Job = torch.load(folder / JOB, mmap=True, weights_only=False)  # written by the process that asks
        with suppress(PermissionError):  # Windows deletes no file that is mapped
            (folder / JOB).unlink()
        (folder / ENGINE).write_bytes(job.build())
    except Exception as error:  # compilers fail in many ways
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def serve(asked: IO[str], answers: IO[str]) -> None:
    """Build what is asked for until there is nobody to ask."""
    for line in asked:
        folder = Path(line.strip())
        reason = attempt(folder)
        try:
            print(reason, file=answers, flush=True)
        except BrokenPipeError:  # who asked was killed meanwhile, and has left it lying
            rmtree(folder, ignore_errors=True)
            os._exit(1)  # what was not sent would be tried again at the end, and complained of


def main() -> None:
    """Serve the process that began this one. What libraries print goes to its standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the one who asks
    if sys.platform != "win32":
        os.nice(NICE)
    if GENTLE in sys.argv[1:]:
        gentle.give_way()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()
