"""Changes of a live session: another one is opened and its tick built in the background; the newest change wins."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Lock
from typing import Any, TypeVar

from millstream.engine import Engine, Session, update_alike
from millstream.live.handover import Show, Track, refuse
from millstream.params import Params, check

T = TypeVar("T")
R = TypeVar("R")

Open = Callable[[Params], tuple[Engine, Session]]


class Changes:
    """Prepares what takes over from the session that `show` shows, in one thread, and calls `ready` when it can."""

    def __init__(self, show: Show, ready: Callable[[], None]) -> None:
        self._show = show
        self._ready = ready
        self._builder = ThreadPoolExecutor(1, "millstream-change")
        self._lock = Lock()
        self._answer: Future[Session] | None = None
        self._since: dict[str, Any] = {}  # parameters that come with the change, or changed since it was asked for
        self._session: Session | None = None
        self._prepared: tuple[Track, Future[Session]] | None = None

    @property
    def under_way(self) -> bool:
        """Whether a change was begun and has no answer yet."""
        return self._answer is not None and not self._answer.done()

    def begin(self, open_: Open, params: Mapping[str, Any] | None = None) -> Future[Session]:
        """Begin a change; one that is under way is cancelled, and its parameters go over to this one.

        See `Live.change`.
        """
        with self._lock:
            return self._begin(open_, self._coming() | dict(params or {}))

    def offer(self, open_: Open) -> Future[Session] | None:
        """Begin a change that nobody asked for, unless one is under way: none that was gives way to it."""
        with self._lock:
            return None if self.under_way else self._begin(open_, {})

    def ahead(self, params: Mapping[str, Any] | None = None) -> Params:
        """The parameters with which a change that brings these would begin. Raises BadInputError for what is wrong."""
        with self._lock:
            return self._revised(self._coming() | dict(params or {}))

    def update(self, changes: Mapping[str, Any], in_flight: bool) -> int:
        """Change parameters of the session that is shown and of the one that comes; give the version of both.

        Raises BadInputError where either cannot take them, and then nothing has changed.
        """
        with self._lock:
            coming = {self._session} if self._session and self.under_way else set()
            version = update_alike({self._show.present.session} | coming, changes, in_flight)
            self._since |= changes
            return version

    def take(self) -> tuple[Track, Future[Session]] | None:
        """What is ready to be shown, once."""
        with self._lock:
            prepared, self._prepared = self._prepared, None
            return prepared

    def close(self) -> None:
        """Cancel what is under way. The thread ends when its step does: a model that loads cannot be stopped."""
        with self._lock:
            if self._answer is not None:
                self._answer.cancel()
        self._builder.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, open_: Open, answer: Future[Session]) -> None:
        if answer.cancelled():
            return
        try:
            engine, session = open_(self._params(answer))
            self._catch_up(session, answer)
            wait_for_tick(engine, session, answer)
            if not answer.cancelled():
                self._hand_on(Track(engine, session), answer)
        except Exception as error:
            refuse(answer, error)

    def _begin(self, open_: Open, since: dict[str, Any]) -> Future[Session]:
        answer: Future[Session] = Future()
        if self._answer is not None:
            self._answer.cancel()
        self._answer, self._since, self._session = answer, since, None
        self._builder.submit(self._prepare, open_, answer)
        return answer

    def _coming(self) -> dict[str, Any]:
        return self._since if self.under_way else {}

    def _revised(self, changes: dict[str, Any]) -> Params:
        params: Params = check(Params, self._show.present.session.params.model_dump() | changes)
        return params

    def _params(self, answer: Future[Session]) -> Params:
        """What the session of a change is opened with."""
        with self._lock:
            return self._revised(self._since if answer is self._answer else {})

    def _catch_up(self, session: Session, answer: Future[Session]) -> None:
        """Bring the parameters to what they became since; from here on `update` reaches the session."""
        with self._lock:
            if answer is self._answer:
                update_alike([session], self._since, above=self._show.present.session.version)
                self._session = session

    def _hand_on(self, track: Track, answer: Future[Session]) -> None:
        with self._lock:
            if answer is self._answer and not answer.cancelled():
                self._prepared = track, answer
        self._ready()


def wait_for_tick(engine: Engine, session: Session, answer: Future[Session]) -> None:
    """Wait until the session's back end is built, or the change is cancelled. Raises ModelError where it cannot be."""
    building = engine.prepare(session)
    if building is None:
        return
    either = Event()
    building.add_done_callback(lambda _: either.set())
    answer.add_done_callback(lambda _: either.set())
    either.wait()
    if building.done():
        building.result()


def following(answer: Future[T], make: Callable[[T], R]) -> Future[R]:
    """A future of what `make` makes of the answer. Cancelling either cancels both."""
    result: Future[R] = Future()

    def settle(answer: Future[T]) -> None:
        if answer.cancelled():
            result.cancel()
        if not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(make(answer.result()))
        except Exception as error:
            result.set_exception(error)

    result.add_done_callback(lambda result: answer.cancel() if result.cancelled() else None)
    answer.add_done_callback(settle)
    return result
