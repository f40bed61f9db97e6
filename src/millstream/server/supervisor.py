"""The engine's supervisor: one worker process, watched, and replaced by a fresh one when it is lost."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from millstream.frame import Frame
from millstream.params import Settings
from millstream.server.link import Link
from millstream.server.mail import Mail
from millstream.server.messages import (
    Answered,
    Back,
    Beat,
    Building,
    Change,
    Event,
    Failed,
    Lost,
    Opened,
    Picture,
    Reason,
    Refused,
    Said,
    Set,
    Stats,
)
from millstream.server.places import Places
from millstream.server.watch import Limits, Watch

if TYPE_CHECKING:  # torch
    from millstream.server.engines import Make

LOG = logging.getLogger(__name__)
WATCH = 0.25  # seconds between two looks at a worker that says nothing
WHY = {"died": "it ended by a fault", "hung": "it did not answer any more", "memory": "memory did not suffice"}


@dataclass(frozen=True)
class Ended:
    """The worker's pipe has ended."""


@dataclass(frozen=True)
class Note:
    """Something to be told that does not come from the worker."""

    event: Event


class Supervisor:
    """Runs the engine in a worker process, and tells what happens there. No method but `stop` waits for anything."""

    def __init__(self, tell: Callable[[Event], None], limits: Limits | None = None, make: "Make | None" = None) -> None:
        """`tell` takes every event, in the supervisor's own thread, one after the other; it must be quick.

        `make` makes an engine of a model, in the worker; by default it loads the model and runs it.
        """
        self.limits = limits or Limits()
        self._tell, self._make = tell, make
        self._places = Places(self.limits.sessions, self.limits.commands)
        self._incoming = Mail()
        self._link: Link | None = None
        self._watch = Watch(self.limits)
        self._hung = self._failed = self._stopping = False
        self._restarts = 0  # in a row
        self._lost_at: float | None = None  # None while every session is open
        self._thread = Thread(target=self._run, daemon=True, name="millstream-supervisor")

    @property
    def pid(self) -> int | None:
        """The worker's process number; None while there is no worker."""
        link = self._link
        return link.pid if link else None

    def start(self) -> None:
        """Start the worker, and watch it."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker, by force where it does not end by itself, and wait for it. Nothing is told any more."""
        self._stopping = True
        self._incoming.close()
        if self._thread.ident is not None:
            self._thread.join()

    def open(self, sid: str, settings: Settings) -> None:
        """Open a session under a name of its own. Answered by Opened, or by Refused of request 0.

        After Failed this starts a worker again.
        """
        self._note(self._places.open(sid, settings))
        self._failed = False

    def submit(self, sid: str, frame: Frame) -> None:
        """Leave a picture, which must not be written to any more; one not yet sent gives way to it.

        Where there is no such session it is let go of: that may have ended this moment.
        """
        self._places.submit(sid, frame)

    def set(self, sid: str, request: int, changes: dict[str, Any], in_flight: bool = False) -> None:
        """Change fields of Params. Answered by Answered or Refused; requests count from 1."""
        self._note(self._places.command(Set(sid, request, changes, in_flight)))

    def change(
        self,
        sid: str,
        request: int,
        model: dict[str, Any] | None,
        config: dict[str, Any],
        params: dict[str, Any] | None = None,
    ) -> None:
        """Change fields of ModelConfig and StreamConfig, and with them fields of Params.

        Answered by Building and then Answered, or by Refused.
        """
        self._note(self._places.command(Change(sid, request, model or {}, config, params or {})))

    def close(self, sid: str) -> None:
        """End a session; nothing more is told of it."""
        self._places.close(sid)

    def _note(self, refused: Refused | None) -> None:
        if refused is not None:
            self._incoming.put(Note(refused))

    # What follows is for the supervisor's own thread.

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._guarded_turn()
        finally:
            self._part()

    def _guarded_turn(self) -> None:
        try:
            self._turn()
        except Exception as error:
            LOG.exception("the engine's supervisor has a fault")
            self._part()
            self._fail(f"the engine was ended by a fault of the server ({error}); see its log, and open it again")

    def _part(self) -> None:
        """End the worker, if there is one; nobody has lost it."""
        if self._link is not None:
            link, self._link = self._link, None
            link.end(self.limits.stop)
            self._incoming.withdraw(lambda message: isinstance(message, Ended))

    def _turn(self) -> None:
        if self._link is None and not self._failed:
            self._begin()
        if (message := self._incoming.take(WATCH)) is not None:
            self._handle(message)
        if self._link is not None and not self._hung and self._watch.hangs():
            self._hung = True
            self._link.kill()  # its end is then seen as any other

    def _begin(self) -> None:
        self._hung, self._watch = False, Watch(self.limits)
        try:
            self._link = Link(
                self._places.mail,
                self._deliver,
                ended=lambda: self._incoming.put(Ended()),
                models=self.limits.models,
                make=self._make,
            )
        except (OSError, EOFError):
            self._lose("died", lived=0.0)

    def _deliver(self, message: object) -> None:
        """Take a message in the thread that reads them."""
        self._watch.hear(message)
        match message:
            case Picture(sid=sid):
                self._incoming.show(sid, message, self._places.frames(sid))
            case Stats(sid=sid):
                self._incoming.show((Stats, sid), message)
            case Beat():
                self._incoming.show(Beat, message)
            case _:
                self._incoming.put(message)

    def _handle(self, message: object) -> None:
        match message:
            case Ended():
                self._bury()
            case Note():
                self._tell(message.event)
            case Opened() | Answered() | Refused() | Picture() | Building() | Said() | Stats():
                if self._places.accept(message):
                    self._tell(message)
        if self._lost_at is not None and self._link is not None and self._watch.up and self._places.all_open:
            self._tell(Back(monotonic() - self._lost_at))
            self._lost_at = None

    def _bury(self) -> None:
        """Clear away a worker that has ended, and find out why it did."""
        assert self._link is not None
        self._lost_at = self._lost_at or monotonic()
        lived = monotonic() - self._link.began
        code = self._link.end(self.limits.stop)
        self._link = None
        self._lose("hung" if self._hung else "memory" if self._watch.out_of_memory(code) else "died", lived)

    def _lose(self, reason: Reason, lived: float) -> None:
        """Tell that the worker was lost; have everything opened again in a fresh one, or give up."""
        self._restarts = 1 if lived > self.limits.steady else self._restarts + 1
        self._lost_at = self._lost_at or monotonic()
        refused = self._places.open_again(for_memory=reason == "memory")
        self._tell(Lost(reason))
        for answer in refused:
            self._tell(answer)
        if self._restarts > self.limits.restarts:
            self._give_up(reason)

    def _give_up(self, reason: Reason) -> None:
        self._fail(
            f"the engine was lost {self._restarts} times in a row, at last because {WHY[reason]}; "
            "open it again with other settings, or see the server's log"
        )

    def _fail(self, message: str) -> None:
        """End all sessions; a new one tries again."""
        self._restarts, self._lost_at, self._failed = 0, None, True
        self._places.clear()
        self._tell(Failed(message))
