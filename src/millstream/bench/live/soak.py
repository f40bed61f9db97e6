"""What only shows over time: memory that grows, pictures that get older, and what clients leave behind."""

import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import NamedTuple

import numpy as np
import psutil
from websockets.sync.client import connect

from millstream.bench.live.report import Figures, Gate, Row
from millstream.bench.live.server import SIDE, Server
from millstream.bench.live.watch import Watch
from millstream.client import Client, LiveStream
from millstream.server.protocol import PATH, say

SAMPLE = 5.0  # seconds
SETTLED = 0.2  # of a soak: what is taken until then is not growth
MIB = 2**20
HELD = ("server", "worker", "client")  # whose memory is watched; a browser's comes and goes, so it has no bound
MEMORY = [Gate(f"{who}_mib_a_minute", "<=", 0.5) for who in ("server", "worker")]
AGE = [Gate("age_ms_growth", "<=", 2.0), Gate("paced_ms_growth", "<=", 2.0)]
BANDWIDTH = 0.2  # of a soak: for so long what slows a machine is taken to go on
WARM = 6  # cycles before the first count: threads of pools start when they are first needed
REST = 15.0  # seconds that what has ended may take to be gone


class Sample(NamedTuple):
    """Memory in MiB by HELD, the median age in milliseconds, pictures a second, and pictures out of order."""

    mib: tuple[float, ...]
    age: float
    fps: float
    out_of_order: int


def soak(engine: str, watch: Watch, server: Server, minutes: float) -> Row:
    """Watch a stream of an engine for long. Slopes are least squares over the last four fifths.

    Machines have states of their own, each for minutes: on two shared cores a loop of convolutions alone, in which
    nothing can grow, runs 10 % slower for a while, and an engine that fills them shows pictures of 92 or of 115 ms. By
    Little's law pictures under way are age times rate, 1.9 in both states; so the age at the soak's mean rate (`paced`)
    tells a queue from a slower machine, and growth has a standard error that knows of states. Raises MillstreamError
    where pictures stop.
    """
    samples = [_sample(watch, server) for _ in range(max(5, round(60 * minutes / SAMPLE)))]
    late = samples[round(SETTLED * len(samples)) :]
    figures: Figures = {"minutes": minutes}
    for name, held in zip(HELD, zip(*(sample.mib for sample in late), strict=True), strict=True):
        per_minute = growth(held).whole / (len(held) * SAMPLE / 60)
        figures |= {f"{name}_mib": round(held[-1], 1), f"{name}_mib_a_minute": round(per_minute, 3)}
    figures |= {"age_ms_first": round(late[0].age, 2), "age_ms_last": round(late[-1].age, 2)}
    rate = float(np.mean([sample.fps for sample in late]))
    figures |= growth([sample.age for sample in late]).figures("age_ms")
    figures |= growth([sample.age * sample.fps / rate for sample in late]).figures("paced_ms")
    figures |= {"out_of_order": sum(sample.out_of_order for sample in samples)}
    return Row(f"soak, {engine}", "", watch.codec, figures, [*MEMORY, *AGE, Gate("out_of_order", "<=", 0)])


class Growth(NamedTuple):
    """How much values grew over their whole time, and the standard error of that."""

    whole: float
    error: float

    def figures(self, name: str) -> Figures:
        """As a row tells them."""
        return {f"{name}_growth": round(self.whole, 2), f"{name}_growth_error": round(self.error, 2)}


def cycles(server: Server, count: int) -> Row:
    """Connect and disconnect so often, in turns: a session of its own, a viewer, a viewer that is cut off."""
    client = Client(server.url)
    with client.open() as kept:
        _stream(kept)
        turns: list[Callable[[], None]] = [
            lambda: _own(client),
            lambda: _view(client, kept.session),
            lambda: _cut_off(server.url, kept.session),
        ]
        _turn(turns, WARM)
        before = _rest(server, {})
        _turn(turns, count)
        after = _rest(server, before)
    figures = {"cycles": float(count)} | {f"{name}_before": value for name, value in before.items()} | after
    return Row("cycles", "python", "jpeg", figures, [Gate(name, "<=", value) for name, value in before.items()])


def _sample(watch: Watch, server: Server) -> Sample:
    seen = watch.see(SAMPLE)
    age, fps = float(np.median(seen.shown())), len(seen.ages) / seen.seconds
    mib = tuple(_mib(processes) for processes in ({server.own}, {server.worker}, server.clients))
    return Sample(mib, age, fps, seen.out_of_order)


def _mib(processes: Iterable[psutil.Process]) -> float:
    """What they hold together; memory that they share counts in each."""
    total = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a browser ends some of its own as it goes
            total += process.memory_info().rss
    return total / MIB


def growth(values: Sequence[float]) -> Growth:
    """By least squares; the error is that of Newey and West (1987), for what deviates stays so for a while."""
    time = np.linspace(-0.5, 0.5, len(values))
    slope, middle = np.polyfit(time, values, 1)
    moments = time * (np.array(values) - middle - slope * time)
    lags = round(BANDWIDTH * len(values))
    spread = moments @ moments
    for lag in range(1, lags + 1):
        spread += 2 * (1 - lag / (lags + 1)) * (moments[lag:] @ moments[:-lag])
    return Growth(float(slope), float(np.sqrt(max(spread, 0.0)) / (time @ time)))


def _turn(turns: Sequence[Callable[[], None]], count: int) -> None:
    for i in range(count):
        turns[i % len(turns)]()


def _own(client: Client) -> None:
    with client.open() as stream:
        _stream(stream)


def _stream(stream: LiveStream) -> None:
    """One picture there and back."""
    for _ in stream.run([np.full((SIDE, SIDE, 3), 128, np.uint8)]):
        pass


def _view(client: Client, session: str) -> None:
    with client.join(session) as stream:
        next(stream.results())


def _cut_off(url: str, session: str) -> None:
    address = f"{url.replace('http', 'ws', 1)}{PATH}?session={session}&role=view"
    with connect(address, compression=None, max_size=None) as line:
        line.send(say("hello", receive=["jpeg"]))
        line.recv()
        line.socket.shutdown(socket.SHUT_RDWR)


def _rest(server: Server, wanted: Figures) -> Figures:
    """What there is once it rests: when it has come down to what is wanted, or two counts a second apart agree."""
    end = monotonic() + REST
    last: Figures = {}
    found = _count(server)
    while (any(found[name] > wanted[name] for name in wanted) or last != found) and monotonic() < end:
        sleep(1.0)
        last, found = found, _count(server)
    return found


def _count(server: Server) -> Figures:
    """Sessions, tasks, and of both processes threads and open files."""
    counts = {"tasks": server.tasks()}  # before the request below, which is served by tasks of its own
    counts["sessions"] = len(Client(server.url).call("sessions"))
    for name, process in (("server", server.own), ("worker", server.worker)):
        counts |= {f"{name}_threads": process.num_threads(), f"{name}_files": _files(process)}
    return {name: float(value) for name, value in counts.items()}


def _files(process: psutil.Process) -> int:
    if sys.platform == "win32":
        return process.num_handles()
    return process.num_fds()
