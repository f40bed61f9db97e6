"""What a change of what the stream is costs the show: the longest wait for a picture, in pictures' own time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Any

import numpy as np

from millstream.bench.live.report import Gate, Row
from millstream.errors import MillstreamError
from millstream.frame import Pixels
from millstream.media.demo import draw
from millstream.models import load_model
from millstream.params import ModelConfig, Params, StreamConfig
from millstream.pipeline import Stream

SIDE, LARGER = 256, 320  # pixels
STEADY = 2.0  # seconds over which a picture's own time is measured, before a change and after it
AROUND = 0.5  # seconds before and after the moment at which a change is done
LIMIT = 600.0  # seconds that a change may take
RATE = 120  # pictures a second that are offered: more than are made
CHANGES: dict[str, dict[str, Any]] = {
    "steps 2 -> 4": {"steps": 4},
    f"size {SIDE} -> {LARGER}": {"width": LARGER, "height": LARGER},
    "guidance none -> self-negative": {"guidance": "self-negative"},
    "all back": {"steps": 2, "width": SIDE, "height": SIDE, "guidance": "none"},
    "steps 2 -> 1": {"steps": 1},
    "steps 1 -> 4": {"steps": 4},
}
GATES = [Gate("frames", "<=", 2)]


class Show:
    """A stream at full speed; `moments` are those at which its pictures came."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.moments: list[float] = []

    def watch(self, seconds: float) -> None:
        """Watch for so long."""
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0:
            if self.stream.poll(left) is not None:
                self.moments.append(monotonic())

    def own_time(self) -> float:
        """Median seconds from picture to picture, measured now."""
        begun = len(self.moments)
        self.watch(STEADY)
        return float(np.median(np.diff(self.moments[begun:])))

    def longest(self, begin: float, end: float) -> float:
        """The longest wait for a picture that fell into this time, even in part."""
        moments = np.array(self.moments)
        waits = np.diff(moments)[(moments[1:] >= begin) & (moments[:-1] <= end)]
        return float(waits.max())


def swaps(model: str) -> list[Row]:
    """Change a stream of the model, one thing after another. Raises MillstreamError where a change fails."""
    form = StreamConfig(width=SIDE, height=SIDE, steps=2)
    with Stream(load_model(ModelConfig(name=model)), form, Params(prompt="night")) as stream, _offered(stream):
        show = Show(stream)
        _wait(show, lambda: not stream.stats().building, "the first tick")
        return [_swap(show, name, change) for name, change in CHANGES.items()]


def _swap(show: Show, name: str, change: dict[str, Any]) -> Row:
    before, begun = show.own_time(), monotonic()
    future = show.stream.change(**change)
    _wait(show, future.done, name)
    done = monotonic()
    future.result()
    show.watch(AROUND)
    frame = max(before, show.own_time())
    gap, building = show.longest(done - AROUND, done + AROUND), show.longest(begun, max(begun, done - AROUND))
    figures = {
        "frame_ms": round(1e3 * frame, 1),
        "gap_ms": round(1e3 * gap, 1),
        "frames": round(gap / frame, 2),
        "built_s": round(done - begun, 1),
        "building_gap_ms": round(1e3 * building, 1),
    }
    return Row(f"swap, {name}", "", "", figures, GATES)


def _wait(show: Show, done: Callable[[], bool], what: str) -> None:
    end = monotonic() + LIMIT
    while not done():
        if monotonic() > end:
            raise MillstreamError(f"{what}: not built in {LIMIT:.0f} s; try `millstream doctor`")
        show.watch(0.02)


@contextmanager
def _offered(stream: Stream) -> Iterator[None]:
    """Offer the stream more pictures than it can make."""
    pictures, ended = [draw(i / 8, SIDE, SIDE) for i in range(8)], Event()
    thread = Thread(target=_offer, args=(stream, pictures, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _offer(stream: Stream, pictures: list[Pixels], ended: Event) -> None:
    number = 0
    while not ended.wait(1 / RATE):
        stream.submit(pictures[number % len(pictures)])
        number += 1
