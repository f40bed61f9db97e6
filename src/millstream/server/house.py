"""All sessions of a server: who is admitted, what the engine tells whom, and when a session ends."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from millstream.errors import MillstreamError
from millstream.params import Settings
from millstream.server import messages
from millstream.server.catalogue import Catalogue
from millstream.server.limits import Limits
from millstream.server.protocol import BROKEN, GONE, IDLE, say
from millstream.server.recordings import Kept, Recording, Shelf
from millstream.server.refused import RefusedError
from millstream.server.sessions import Session, Shared
from millstream.server.supervisor import Supervisor
from millstream.server.watch import Limits as EngineLimits

if TYPE_CHECKING:  # torch
    from millstream.server.engines import Make

LOG = logging.getLogger(__name__)
TO_COMPLETE = 5.0  # seconds that a recording may take to be completed
BEAT = 1.0  # seconds between two looks at all sessions
FULL, UNKNOWN, BUSY = 503, 404, 409


@dataclass
class Tally:
    """What has happened since the server began."""

    sessions: int = 0
    refused: int = 0
    lost: int = 0
    pictures_in: int = 0
    pictures_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    faults: int = 0


@dataclass
class Engine:
    """How the worker is, and what is told of it. `lost`: a fresh one starts; `failed`: that was no help."""

    state: str = "running"
    told: dict[str, str] = field(default_factory=dict)


@dataclass
class Inbox:
    """What the engine has told and the event loop has not heard: every event, and of pictures the newest."""

    hear: Callable[[messages.Event], None]
    loop: asyncio.AbstractEventLoop
    pictures: dict[str, messages.Picture] = field(default_factory=dict)

    def tell(self, event: messages.Event) -> None:
        """Leave an event; called in the supervisor's thread."""
        if self.loop.is_closed():
            return
        if isinstance(event, messages.Picture):
            self.pictures[event.sid] = event
            self.loop.call_soon_threadsafe(self._picture, event.sid)
        else:
            self.loop.call_soon_threadsafe(self.hear, event)

    def _picture(self, sid: str) -> None:
        if event := self.pictures.pop(sid, None):
            self.hear(event)


class House:
    """The sessions of one server."""

    def __init__(  # noqa: PLR0913
        self,
        defaults: Settings,
        catalogue: Catalogue,
        shelf: Shelf,
        pool: Executor,
        limits: Limits,
        *,
        make: "Make | None" = None,
    ) -> None:
        """Needs a running event loop. `shelf` is that of recordings, `defaults` what a new session begins with.

        `make` is the supervisor's.
        """
        self._loop = asyncio.get_running_loop()
        engine_limits = EngineLimits(sessions=limits.sessions)
        self._supervisor = Supervisor(Inbox(self._told, self._loop).tell, engine_limits, make)
        self.defaults, self.limits = defaults, limits
        self.shared = Shared(self._supervisor, catalogue, pool, limits)
        self.tally, self.engine = Tally(), Engine()
        self.sessions: dict[str, Session] = {}
        self._shelf = shelf
        self._beating: asyncio.Task[None] | None = None
        self._closed = False
        self._recordings: list[Recording] = []

    def start(self) -> None:
        """Start the engine's worker, and look after the sessions from now on."""
        self._supervisor.start()
        self._beating = asyncio.create_task(self._beat(), name="millstream-beat")

    def clear(self) -> None:
        """End all sessions, and admit none any more; their recordings are completed."""
        self._closed = True
        self._recordings = [session.recording for session in self.sessions.values() if session.recording]
        for session in list(self.sessions.values()):
            self.end(session, GONE, "the server stops")

    async def stop(self) -> None:
        """Clear the house, wait for its recordings, stop the worker."""
        if self._beating:
            self._beating.cancel()
        if not self._closed:
            self.clear()
        for recording in self._recordings:
            await self._loop.run_in_executor(None, recording.join, TO_COMPLETE)
        await self._loop.run_in_executor(None, self._supervisor.stop)

    def admit(self, sid: str, role: str) -> Session:
        """The session of this id, or a new one for `new`. Raises RefusedError."""
        if sid == "new":
            return self.create(self.defaults)
        session = self.get(sid)
        if session.full and role == "view":  # a controller that comes back takes the place of the one before
            raise self._refuse("this session has as many viewers as it may have; try again later")
        return session

    def create(self, settings: Settings) -> Session:
        """Open a session. Raises RefusedError where there is no place for it."""
        if self._closed:
            raise self._refuse("the server stops; try again when it runs")
        if len(self.sessions) >= self.limits.sessions:
            raise self._refuse(f"all {self.limits.sessions} sessions of this server are in use; try again later")
        session = Session(token_urlsafe(16), settings, self.shared)
        self.sessions[session.id] = session
        self.tally.sessions += 1
        return session

    def get(self, sid: str) -> Session:
        """The session of this id. Raises RefusedError."""
        if sid not in self.sessions:
            raise RefusedError(UNKNOWN, "there is no such session; it may have ended: begin a new one")
        return self.sessions[sid]

    def end(self, session: Session, code: int, reason: str) -> None:
        """End a session."""
        if self.sessions.pop(session.id, None):
            figures = session.figures
            self.tally.pictures_in += figures.pictures_in
            self.tally.pictures_out += figures.pictures_out
            self.tally.bytes_in += figures.bytes_in
            self.tally.bytes_out += figures.bytes_out
            session.close(code, reason)

    async def record(self, session: Session) -> asyncio.Future[Kept]:
        """Begin a recording; the future is its file, or raises what became of it. Raises MillstreamError."""
        path = await self._loop.run_in_executor(self.shared.pool, self._shelf.new)
        self.get(session.id)  # unless it has ended meanwhile
        if session.recording:
            raise RefusedError(BUSY, "it is recording already; end that recording first")
        kept: asyncio.Future[Kept] = self._loop.create_future()

        def complete(result: Kept | MillstreamError) -> None:
            session.recording = session.recorded = None
            session.tell("event", name="recorded")
            if isinstance(result, MillstreamError):
                kept.set_exception(result)
            else:
                kept.set_result(result)

        def written(result: Kept | MillstreamError) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(complete, result)

        session.recording = Recording(self._shelf, path, self.limits.recording_seconds, written)
        session.recorded = kept
        session.tell("event", name="recording")
        return kept

    def _refuse(self, message: str) -> RefusedError:
        self.tally.refused += 1
        return RefusedError(FULL, message)

    def _told(self, event: messages.Event) -> None:
        match event:
            case messages.Lost():
                self.tally.lost += 1
                self.engine = Engine("lost", {"reason": event.reason, "message": messages.RESTARTED})
            case messages.Back() | messages.Opened():
                self.engine = Engine()
            case messages.Failed():
                self.engine = Engine("failed", {"message": event.message})
        sid = getattr(event, "sid", None)
        for session in list(self.sessions.values()):
            if sid in (None, session.id):
                session.told(event)
            if isinstance(event, messages.Failed):
                self.end(session, BROKEN, "the engine has failed")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            for session in list(self.sessions.values()):
                try:
                    self._look_after(session)
                except Exception:  # the others are looked after all the same
                    LOG.exception("a session cannot be looked after")

    def _look_after(self, session: Session) -> None:
        if reason := session.ends:
            session.tell("event", name="idle", message=reason)
            self.end(session, IDLE, reason)
        elif session.opened.is_set():
            session.watchers.say(say("stats", **session.stats()))
