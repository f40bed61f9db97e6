"""The live worker: the newest picture in, the newest picture out, and a known age.

While frames are in flight and nothing new has come, bubbles push them out at once: a frame is as old as its own n
ticks, however slow the source. Where the source has stalled the last frame is sent again (arXiv 2312.12491, section
3.2), so that a change of prompt shows, or the stream holds.
"""

from collections import deque
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread
from time import monotonic

import numpy as np

from millstream.engine import Engine, Session
from millstream.errors import MillstreamError
from millstream.feed import Feed
from millstream.frame import Frame, Pixels
from millstream.media.arrays import rgb_of_array
from millstream.media.fit import fit_frame
from millstream.queues import Mailbox

STALLED = 0.25  # seconds without a new picture after which the source counts as stalled
AGES = 1024  # how many of the last pictures the statistics of age are made of


@dataclass(frozen=True)
class LiveStats:
    """Counts since the stream began; ages, in milliseconds, of the last pictures when they were finished."""

    submitted: int
    finished: int
    skipped: int
    dropped_before: int
    dropped_after: int
    age_ms_p50: float | None
    age_ms_p95: float | None
    age_ms_p99: float | None


class Live:
    """One session in a thread of its own, between two mailboxes."""

    def __init__(self, engine: Engine, session: Session) -> None:
        self._session = session
        session.waits = False  # pictures at once, eager, until the back end is ready
        self._feed = Feed(engine, session)
        self._inbox: Mailbox[Frame] = Mailbox(session.config.frame_buffer)
        self._outbox: Mailbox[Frame] = Mailbox(session.config.frame_buffer)
        self._last: Frame | None = None
        self._submitted = self._finished = 0
        self._newest = -1
        self._ages: deque[float] = deque(maxlen=AGES)
        self._submitting = Lock()
        self._drained: list[Frame] | None = None
        self._rest = Event()
        self._closing = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, daemon=True, name="millstream-live")
        self._thread.start()

    def submit(self, picture: Frame | Pixels) -> None:
        """Leave a picture; an array is numbered and gets the time of this moment."""
        self._raise()
        pixels = rgb_of_array(picture.pixels if isinstance(picture, Frame) else picture)
        with self._submitting:
            frame = picture if isinstance(picture, Frame) else Frame(self._submitted, pixels, monotonic())
            self._submitted += 1
            self._inbox.put(replace(frame, pixels=pixels))

    def poll(self, timeout: float = 0.0) -> Frame | None:
        """The newest finished picture not yet seen."""
        found = self._outbox.take(1, timeout)
        if not found:
            self._raise()
        return found[0] if found else None

    def drain(self) -> list[Frame]:
        """Finish everything that was submitted; give what has not been polled, in order."""
        self._rest.clear()
        self._raise()  # behind the clear: a worker that stops from here on sets it again
        self._drained = []
        self._inbox.wake()
        self._rest.wait()
        self._raise()
        rest, self._drained = self._drained, None
        return [*self._outbox.take(self._session.config.frame_buffer), *rest]

    def stats(self) -> LiveStats:
        """Counts and ages up to now."""
        ages = np.array(self._ages) * 1000
        p50, p95, p99 = np.percentile(ages, (50, 95, 99)).tolist() if len(ages) else (None, None, None)
        return LiveStats(
            self._submitted,
            self._finished,
            self._feed.skipped,
            self._inbox.dropped,
            self._outbox.dropped,
            p50,
            p95,
            p99,
        )

    def close(self) -> None:
        """Stop the worker after the tick it is in."""
        if not self._closing:
            self._closing = True
            self._inbox.wake()
            self._thread.join()
            self._feed.close()

    def _work(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except BaseException as error:  # raised again in submit, poll and drain
            self._error = error
        self._outbox.wake()
        self._rest.set()

    def _turn(self) -> None:
        frame = self._next()
        if frame is not None and not self._feed.skips(frame):
            outputs = self._feed.take(frame)
        elif self._feed.busy:
            outputs = self._feed.tick()
        else:
            outputs = []
        for output in outputs:
            self._finish(output)
        if self._drained is not None and frame is None and not self._feed.busy:
            self._rest.set()

    def _next(self) -> Frame | None:
        """The newest picture; the last one again where the source has stalled; None for a bubble or nothing."""
        found = self._inbox.take(1, self._patience())
        if found:
            self._last = fit_frame(found[0], self._session.size)
        elif self._drained is not None or self._feed.busy or self._session.config.stall == "hold":
            return None
        return self._last

    def _patience(self) -> float | None:
        """How long to wait for a new picture, in seconds; None: until one comes."""
        if self._drained is not None or (self._feed.busy and not self._feed.incomplete):
            return 0.0
        holding = self._session.config.stall == "hold" or self._last is None
        return None if holding and not self._feed.incomplete else STALLED

    def _finish(self, output: Frame) -> None:
        self._finished += 1
        if output.id > self._newest:  # the age of a picture that was sent again says nothing of the engine
            self._newest = output.id
            self._ages.append(monotonic() - output.time)
        if self._drained is None:
            self._outbox.put(output)
        else:
            self._drained.append(output)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closing:
            raise MillstreamError("the stream is closed: open a new one")
