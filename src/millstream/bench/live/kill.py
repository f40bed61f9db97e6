"""What a user waits for when the engine's worker is killed in mid-stream."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import psutil

from millstream.bench.live.client import Stamped
from millstream.bench.live.report import Gate, Row
from millstream.bench.live.server import Server
from millstream.client import Client, LiveStream
from millstream.errors import MillstreamError
from millstream.frame import Frame

STEADY = 2.0  # seconds of a stream before it loses its engine
LIMIT = 120.0  # seconds that a worker may take to be there, and a stream to go on
GATES = [Gate("beyond_load_s", "<=", 3)]


def killed(server: Server) -> Row:
    """Kill the worker of a server that has no session yet, while it streams. Raises MillstreamError.

    The server does not tell how long a model takes to load; it is what the first session waits for beyond its worker.
    """
    _wait(lambda: _works(server), "the engine's worker")
    begun = monotonic()
    with Client(server.url).open() as stream:
        load = monotonic() - begun
        with _results(stream) as results:
            _first_after(results, monotonic() + STEADY)
            server.worker.kill()
            dead = monotonic()
            picture = _first_after(results, dead) - dead
        back = _back(stream)
    figures = {"load_s": load, "back_s": back, "picture_s": picture, "beyond_load_s": max(0.0, picture - load)}
    return Row("killed", "python", "jpeg", {name: round(value, 2) for name, value in figures.items()}, GATES)


@contextmanager
def _results(stream: LiveStream) -> Iterator[Iterator[Frame]]:
    source = Stamped()
    results = stream.run(source)
    try:
        yield results
    finally:
        source.ended = True
        for _ in results:
            pass


def _first_after(results: Iterator[Frame], moment: float) -> float:
    """When the first result came whose picture was taken after this moment: no older engine can have made it."""
    end = moment + LIMIT
    for result in results:
        now = monotonic()
        if result.time > moment:
            return now
        if now > end:
            break
    raise MillstreamError("the stream did not go on; look at the server's messages above")


def _back(stream: LiveStream) -> float:
    """Seconds from the loss to the sessions' being open again, as the server tells them."""
    told = [event["seconds"] for event in list(stream.events) if event.get("name") == "back"]
    if not told:
        raise MillstreamError("pictures came, and the server did not say that its engine is back")
    return float(told[-1])


def _works(server: Server) -> bool:
    try:
        return server.worker.status() != psutil.STATUS_ZOMBIE
    except MillstreamError:
        return False


def _wait(done: Callable[[], bool], what: str) -> None:
    end = monotonic() + LIMIT
    while not done():
        if monotonic() > end:
            raise MillstreamError(f"{what} was not there in {LIMIT:.0f} s; look at the messages above")
        sleep(0.05)
