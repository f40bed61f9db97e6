"""A server in a process of its own, as users run it, and what it takes of the machine."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import psutil

from millstream.errors import MillstreamError
from millstream.params import ModelConfig, Settings, StreamConfig

if TYPE_CHECKING:  # torch
    from millstream.server.engines import WatchedEngine

SIDE = 512
PATIENCE = 10.0  # seconds to end
ADDRESS = re.compile(r"millstream: (http://\S+?)/?\n")
STRAIGHT = "from millstream.bench.live.serve import main; main()"  # as a module it would be imported by its worker too


def straight(model: ModelConfig, seconds: float) -> "WatchedEngine":
    """An engine that loads a model, whose sessions are real, and never runs it. Raises ModelError."""
    from millstream.bench.live.engine import Straight  # noqa: PLC0415 - the server does without torch
    from millstream.models import load_model  # noqa: PLC0415

    return Straight(load_model(model), seconds)


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    process: "Popen[str]"

    @property
    def own(self) -> psutil.Process:
        """The process that listens."""
        return psutil.Process(self.process.pid)

    @property
    def worker(self) -> psutil.Process:
        """The engine's process: where there is a fork server, its child. Raises MillstreamError where it is lost."""
        children = self.own.children()
        forked = [grandchild for child in children for grandchild in child.children()]
        engines = [child for child in forked or children if "resource_tracker" not in " ".join(child.cmdline())]
        if not engines:
            raise MillstreamError("the engine's worker was lost; look at the messages above")
        return engines[0]

    @property
    def both(self) -> set[psutil.Process]:
        """The server with its engine, and whatever serves them."""
        return {self.own, *self.own.children(recursive=True)}

    @property
    def clients(self) -> set[psutil.Process]:
        """This process with its browser."""
        me = psutil.Process()
        return {me, *me.children(recursive=True)} - self.both

    def tasks(self) -> int:
        """The asyncio tasks of a server that was started by `serving_straight`."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def serving_straight(seconds: float, model: str) -> Iterator[Server]:
    """A server whose engine gives pictures of 512x512 back, so many seconds a tick."""
    config = StreamConfig(width=SIDE, height=SIDE, steps=1, backend="eager")
    settings = Settings(model=ModelConfig(name=model), config=config).model_dump_json()
    with _folder() as data, _serving([sys.executable, "-c", STRAIGHT, settings, str(seconds), str(data)]) as server:
        yield server


@contextmanager
def serving(model: str, side: int, steps: int) -> Iterator[Server]:
    """`millstream serve` with pictures of `side` by `side`, on the default back end."""
    form = [f"--model={model}", f"--width={side}", f"--height={side}", f"--steps={steps}"]
    with (
        _folder() as data,
        _serving([sys.executable, "-m", "millstream", "serve", "--port=0", f"--data={data}", *form]) as server,
    ):
        yield server


class Load(NamedTuple):
    """Percent of one core that the server with its engine took, and this process with its browser."""

    server: float
    client: float


class Meter:
    """Processor time from its making on, of all that still runs when it is read."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._began, self._before = monotonic(), _cpu_seconds(server.both | server.clients)

    def read(self) -> Load:
        """What was taken up to now."""
        return Load(self._share(self._server.both), self._share(self._server.clients))

    def _share(self, processes: Iterable[psutil.Process]) -> float:
        taken = sum(now - self._before.get(process, 0.0) for process, now in _cpu_seconds(processes).items())
        return 100 * taken / (monotonic() - self._began)


def _cpu_seconds(processes: Iterable[psutil.Process]) -> dict[psutil.Process, float]:
    seconds = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            times = process.cpu_times()
            seconds[process] = times.user + times.system
    return seconds


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="millstream-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _serving(command: Sequence[str]) -> Iterator[Server]:
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        try:
            yield Server(_address(process), process)
        finally:
            process.terminate()
            with suppress(TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()


def _address(process: "Popen[str]") -> str:
    assert process.stdout
    found = ADDRESS.fullmatch(process.stdout.readline())
    if not found:
        raise MillstreamError("the server did not start; look at its message above")
    return found[1]
