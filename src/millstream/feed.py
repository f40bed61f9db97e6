"""Frames of one session into groups and ticks, past the similarity filter."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace

from millstream.core.similarity import SimilarityFilter
from millstream.engine import Engine, Session
from millstream.frame import Frame


class Feed:
    """Collects frames until a group is complete, and ticks. `skipped` counts what the filter held back.

    A session has one feed at a time, until it is closed; a second one raises MillstreamError.
    """

    def __init__(self, engine: Engine, session: Session, late: bool = False) -> None:
        """`late`: a tick gives what came out of the one before, so that a card has the next to compute meanwhile."""
        session.claim()
        self._late = late
        self._begun: Callable[[], dict[Session, list[Frame]]] | None = None
        self._engine = engine
        self._session = session
        self._waiting: list[Frame] = []
        self._filter = SimilarityFilter(session.params.seed)
        self._version = session.version
        self.skipped = 0

    @property
    def incomplete(self) -> bool:
        """Whether frames wait for others to enter with."""
        return bool(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether any frame has been taken in and has not come out."""
        return self.incomplete or self._session.busy or self._begun is not None

    def skips(self, frame: Frame) -> bool:
        """Whether the filter holds this frame back. A change of parameters lets the next frame through."""
        params = self._session.params
        if not params.similarity_filter:
            return False
        if self._version != self._session.version:
            self._version = self._session.version
            self._filter.reset()
        skip = self._filter.skip(frame.pixels, params.similarity_threshold, params.max_skip)
        self.skipped += skip
        return skip

    def take(self, frame: Frame) -> list[Frame]:
        """Take a frame in; where it completes a group, tick, and give what came out."""
        self._waiting.append(frame)
        return self.tick() if len(self._waiting) == self._session.config.frame_buffer else []

    def tick(self) -> list[Frame]:
        """One tick with what waits: a group, an incomplete one, or a bubble. Gives what came out."""
        entering, self._waiting = self._waiting, []
        if not self._late:
            return self._engine.tick({self._session: entering})[self._session]
        before, self._begun = self._begun, self._next(entering)
        return before()[self._session] if before else []

    def _next(self, entering: list[Frame]) -> Callable[[], dict[Session, list[Frame]]] | None:
        return self._engine.begin({self._session: entering}) if entering or self._session.busy else None

    def close(self) -> None:
        """Give the session free; frames still in flight are let go of."""
        self._session.release()

    def drain(self) -> Iterator[Frame]:
        """Tick with bubbles until everything that went in has come out."""
        while self.busy:
            yield from self.tick()


def offline(feed: Feed, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Every frame in, every frame out, in order. What the filter skips is shown as its predecessor was.

    Closes the feed at the end, also when the consumer leaves half-way.
    """
    echoes = Echoes()
    with closing(feed):
        for frame in frames:
            if feed.skips(frame):
                yield from echoes.of(feed.tick() if feed.busy else [])
                yield from echoes.skip(frame)
            else:
                echoes.enter(frame)
                yield from echoes.of(feed.take(frame))
        yield from echoes.of(feed.drain())


class Echoes:
    """Outputs in order, and behind each the skipped frames that repeat it."""

    def __init__(self) -> None:
        self._entered = -1  # id of the last frame that was processed
        self._shown: Frame | None = None
        self._pending: dict[int, list[Frame]] = {}

    def enter(self, frame: Frame) -> None:
        """Note a frame that is processed."""
        self._entered = frame.id

    def skip(self, frame: Frame) -> Iterator[Frame]:
        """Repeat the output of the last frame processed: now if it is there, else behind it when it comes."""
        if self._shown is not None and self._shown.id == self._entered:
            yield _repeat(self._shown, frame)
        else:
            self._pending.setdefault(self._entered, []).append(frame)

    def of(self, outputs: Iterable[Frame]) -> Iterator[Frame]:
        """Pass outputs on, each with its repeats."""
        for output in outputs:
            self._shown = output
            yield output
            for frame in self._pending.pop(output.id, []):
                yield _repeat(output, frame)


def _repeat(shown: Frame, frame: Frame) -> Frame:
    return replace(frame, pixels=shown.pixels, version=shown.version)
