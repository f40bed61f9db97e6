"""The live worker: the newest picture in, the newest picture out, and a known age.

While frames are in flight and nothing new has come, bubbles push them out at once: a frame is as old as its own n
ticks, however slow the source. Where the source has stalled the last frame is sent again (arXiv 2312.12491, section
3.2), so that a change of prompt shows, or the stream holds.
"""

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any

from millstream.engine import Engine, Session
from millstream.errors import MillstreamError
from millstream.frame import NO_PIXELS, Frame, Pixels
from millstream.live.changes import Changes, Open
from millstream.live.handover import Show, Track
from millstream.live.stats import LiveStats, percentiles
from millstream.live.trading import Trade
from millstream.media.arrays import rgb_of_array
from millstream.params import Params
from millstream.queues import Mailbox

STALLED = 0.25  # seconds of waiting for a new picture after which the source counts as stalled
AGES = 1024  # how many of the last pictures the statistics of age are made of


class Live:
    """One shown session in a thread of its own, between two mailboxes."""

    def __init__(self, engine: Engine, session: Session) -> None:
        self._show = Show(Track(engine, session))
        self._inbox: Mailbox[Frame] = Mailbox(session.config.frame_buffer)
        self._outbox: Mailbox[Frame] = Mailbox(session.config.frame_buffer)
        self._changes = Changes(self._show, self._inbox.wake)
        self._trade = Trade(self._show, self._changes)
        self._last: Frame | None = None
        self._submitted = self._finished = self._turned_away = 0
        self._waits_since = float("inf")  # since when the worker has nothing to do but wait for a picture
        self._newest = -1
        self._ages: deque[float] = deque(maxlen=AGES)
        self._version = session.version
        self._submitting = Lock()
        self._drained: list[Frame] | None = None
        self._rest = Event()
        self._closing = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, daemon=True, name="millstream-live")
        self._thread.start()

    @property
    def session(self) -> Session:
        """The session whose pictures are shown now."""
        return self._show.present.session

    @property
    def engine(self) -> Engine:
        """The engine of that session."""
        return self._show.present.engine

    @property
    def building(self) -> bool:
        """Whether its back end is still being built, or a change is being prepared."""
        session = self.session
        return self._changes.under_way or self.engine.computing(session) != session.config.backend

    def submit(self, picture: Frame | Pixels) -> None:
        """Leave a picture; an array is numbered and gets the time of this moment. Never waits.

        For text to image `NO_PIXELS` will do. Raises BadInputError for what is no picture.
        """
        self._raise()
        given = picture.pixels if isinstance(picture, Frame) else picture
        pixels = given if given is NO_PIXELS else rgb_of_array(given)
        with self._submitting:
            frame = picture if isinstance(picture, Frame) else Frame(self._submitted, pixels, monotonic())
            self._submitted += 1
            self._inbox.put(replace(frame, pixels=pixels))

    def poll(self, timeout: float | None = 0.0) -> Frame | None:
        """The newest finished picture not yet seen, waiting up to `timeout` seconds for it; None: until one comes.

        Raises what stopped the worker, and MillstreamError once the stream is closed.
        """
        found = self._outbox.take(1, timeout)
        if not found and (self._closing or self._error is not None):
            self._outbox.wake()  # for whoever waits beside us
            self._raise()
        return found[0] if found else None

    def update(self, changes: Mapping[str, Any], in_flight: bool = False) -> int:
        """Change parameters, also of a session that is being prepared; give the new version. See `Session.update`.

        Raises BadInputError where the session that is shown or the one that comes cannot take them, and then nothing
        has changed.
        """
        return self._changes.update(changes, in_flight)

    def ahead(self, params: Mapping[str, Any] | None = None) -> Params:
        """The parameters that the session of a change begins with, where it brings these. Raises BadInputError."""
        return self._changes.ahead(params)

    def change(self, open_: Open, params: Mapping[str, Any] | None = None) -> Future[Session]:
        """Show another session, of any engine, as soon as it can take over without a break.

        `params` are changed with it: both take effect, or neither. `open_` is called with all parameters in a thread of
        its own, and may load a model there. Its session's tick is built there too; then it takes over between two
        ticks. The future is the session, once its first picture is out or, where the source is silent, grey ones have
        gone through. It raises what `open_`, the building or the first ticks raise, and then all goes on as it was. A
        newer change cancels one that is under way, and brings that one's parameters too. Parameters that change in the
        meantime reach it, and its version is above all before. The future's callbacks must be quick: the worker calls
        them.
        """
        self._raise()
        return self._changes.begin(open_, params)

    def drain(self) -> list[Frame]:
        """Finish everything that was submitted; give what has not been polled, in order."""
        self._rest.clear()
        self._raise()  # behind the clear: a worker that stops from here on sets it again
        self._drained = []
        self._inbox.wake()
        self._rest.wait()
        self._raise()
        rest, self._drained = self._drained, None
        return [*self._outbox.take(self.session.config.frame_buffer), *rest]

    def stats(self) -> LiveStats:
        """Counts and ages up to now."""
        p50, p95, p99 = percentiles(self._ages)
        track = self._show.present
        (width, height), backend = track.session.size, track.engine.computing(track.session)
        return LiveStats(
            submitted=self._submitted,
            finished=self._finished,
            skipped=self._show.skipped,
            dropped_before=self._inbox.dropped + self._turned_away,
            dropped_after=self._outbox.dropped + self._show.let_go,
            age_ms_p50=p50,
            age_ms_p95=p95,
            age_ms_p99=p99,
            aged=self._trade.aged,
            backend=backend,
            width=width,
            height=height,
            steps=track.session.config.steps,
            version=track.session.version,
            stalled=self._stalled,
            building=self.building,
            traded=self._trade.words(),
        )

    def close(self) -> None:
        """Stop the worker after the tick it is in, and cancel a change: what that still loads ends by itself."""
        if not self._closing:
            self._closing = True
            self._inbox.wake()
            self._thread.join()
            self._show.close()

    def _work(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except BaseException as error:  # raised again in submit, poll and drain
            self._error = error
        self._changes.close()
        self._outbox.wake()
        self._rest.set()

    def _turn(self) -> None:
        if prepared := self._changes.take():
            self._show.begin(*prepared)
        frame = self._next()
        for output in self._show.turn(frame, keep=self._drained is not None):
            self._finish(output)
        self._follow()
        if self._drained is not None and frame is None and not self._show.busy:
            self._rest.set()

    def _follow(self) -> None:
        """Take note of what has changed: another session, or other parameters."""
        if self._trade.step(monotonic()):
            self._inbox.resize(self.session.config.frame_buffer)
            self._outbox.resize(self.session.config.frame_buffer)
        if self._version != self.session.version:
            self._version = self.session.version
            self._ages.clear()

    def _next(self) -> Frame | None:
        """The newest picture; the last one again where the source has stalled; None for a bubble or nothing."""
        if self._show.holds and not self._inbox.waiting:
            for output in self._show.release():
                self._finish(output)
        patience = self._patience()
        if patience != 0 and self._last is not None:
            self._waits_since = min(self._waits_since, monotonic())
        found = self._inbox.take(1, patience)
        if found:
            self._waits_since = float("inf")
            return self._admitted(found[0])
        holds = self._drained is not None or self._show.busy or self.session.config.stall == "hold"
        return None if holds or not self._stalled else self._last

    @property
    def _stalled(self) -> bool:
        """Whether a picture is long in coming. While a tick is under way none is missed: one may be on its way."""
        return monotonic() - self._waits_since >= STALLED

    def _admitted(self, frame: Frame) -> Frame | None:
        if self._drained is None and not self._trade.admits(frame, monotonic()):
            self._turned_away += 1
            return None
        self._last = frame
        return frame

    def _patience(self) -> float | None:
        """How long to wait for a new picture, in seconds; None: until one comes."""
        if self._drained is not None or self._show.pressing:
            return 0.0
        holding = self.session.config.stall == "hold" or self._last is None
        return None if holding and not (self._show.busy or self._show.changing) else STALLED

    def _finish(self, output: Frame) -> None:
        self._finished += 1
        if not self._is_shown(output):
            return
        if self._drained is None:
            self._outbox.put(output)
        else:
            self._drained.append(output)

    def _is_shown(self, output: Frame) -> bool:
        """Note a picture's age. Of one that was sent again it says nothing of the engine, and nothing else shows."""
        if output.id <= self._newest:
            return True
        self._newest = output.id
        now = monotonic()
        self._ages.append(now - output.time)
        return self._trade.shows(output, now) or self._drained is not None

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closing:
            raise MillstreamError("the stream is closed: open a new one")
