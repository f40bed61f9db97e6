"""A file as a live source."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from threading import Event
from time import monotonic

from millstream.frame import Frame
from millstream.media.base import DEFAULT_RATE, Source


class PacedSource(Source):
    """The frames of `source` when their time stamps say so, timed by `time.monotonic()` as they are given.

    With `loop` from the beginning again, without end; else the last one stays for its time too. A source that decodes
    too slowly is given as fast as it comes. `close` may be called from any thread.
    """

    def __init__(self, source: Source, loop: bool = True) -> None:
        self.info = source.info
        self._source, self._loop = source, loop
        self._closed = Event()

    def __iter__(self) -> Iterator[Frame]:
        ids, begin = count(), monotonic()
        while not self._closed.is_set():
            end = 0.0
            for frame in self._source:
                if self._waits_until(begin + frame.time):
                    return
                yield replace(frame, id=next(ids), time=monotonic())
                end = frame.time + float(1 / (self.info.rate or DEFAULT_RATE))
            begin += max(end, float(self.info.duration or 0))
            if not self._loop:
                self._waits_until(begin)
                return

    def close(self) -> None:
        """End the iteration, also in the middle of a wait."""
        self._closed.set()
        self._source.close()

    def _waits_until(self, time: float) -> bool:
        """Wait; tell whether the source was closed meanwhile."""
        return self._closed.wait(max(0.0, time - monotonic()))
