"""The sessions as the supervisor knows them, and what is written to the worker for them."""

from dataclasses import dataclass, field
from threading import Lock

from millstream.frame import Frame
from millstream.params import Settings
from millstream.server.mail import Mail
from millstream.server.messages import (
    OPENING,
    Answered,
    Building,
    Change,
    Close,
    Open,
    Opened,
    Picture,
    Refused,
    Said,
    Set,
    Stats,
    Submit,
)

AGAIN = "the engine was lost before it answered; send the change again"

SessionEvent = Opened | Answered | Refused | Picture | Building | Said | Stats


@dataclass
class Place:
    """A session: what was accepted last, what has not been answered, and its newest picture."""

    settings: Settings
    version: int = 1
    opened: bool = False
    lighter: int = 0
    """Steps down that it takes when it is opened next."""
    pending: dict[int, Set | Change] = field(default_factory=dict)
    last: Frame | None = None

    @property
    def weight(self) -> tuple[bool, int]:
        """By which the session is found that most likely took the memory: one not yet open, or else the largest."""
        config = self.settings.config
        return not self.opened, (config.width or 0) * (config.height or 0) * config.steps * config.frame_buffer


class Places:
    """A bounded number of sessions. May be used from any thread; no method waits."""

    def __init__(self, sessions: int, commands: int) -> None:
        """`commands` is how many of a session may be without an answer."""
        self.mail = Mail()  # to the worker of this moment, or to the next
        self._sessions, self._commands = sessions, commands
        self._places: dict[str, Place] = {}
        self._lock = Lock()

    def open(self, sid: str, settings: Settings) -> Refused | None:
        """Have a session opened."""
        with self._lock:
            assert sid not in self._places, f"session {sid} is open"
            if len(self._places) >= self._sessions:
                return Refused(sid, OPENING, f"all {self._sessions} places are taken; try again when one is free")
            self._places[sid] = Place(settings)
            self.mail.put(Open(sid, settings))
            return None

    def submit(self, sid: str, frame: Frame) -> None:
        """Pass a picture on, where there is such a session."""
        with self._lock:
            if place := self._places.get(sid):
                place.last = frame
                self.mail.show(sid, Submit(sid, frame))

    def command(self, command: Set | Change) -> Refused | None:
        """Pass a command on."""
        with self._lock:
            place = self._places.get(command.sid)
            if place is None:
                return Refused(command.sid, command.request, "no such session; open it first")
            if len(place.pending) >= self._commands:
                return Refused(command.sid, command.request, "too many changes at once; wait for their answers")
            place.pending[command.request] = command
            self.mail.put(command)
            return None

    def close(self, sid: str) -> None:
        """Have a session closed, if there is one."""
        with self._lock:
            if self._places.pop(sid, None):
                self._withdraw(sid)

    def accept(self, event: SessionEvent) -> bool:
        """Note what an event says of its session; False where it comes too late to be told."""
        with self._lock:
            place = self._places.get(event.sid)
            if place is None:
                return False
            match event:
                case Opened(settings=settings, version=version):
                    place.opened, place.lighter, place.settings, place.version = True, 0, settings, version
                    if place.last is not None:  # the stream goes on though its source may have stalled
                        self.mail.show(event.sid, Submit(event.sid, place.last))
                case Answered(settings=settings, version=version, request=request):
                    place.settings, place.version = settings, version
                    place.pending.pop(request, None)
                case Refused(request=0):
                    del self._places[event.sid]
                    self._withdraw(event.sid)
                case Refused(request=request):
                    place.pending.pop(request, None)
                case Picture():
                    return place.opened
            return True

    def frames(self, sid: str) -> int:
        """How many pictures of a session come at once."""
        with self._lock:
            place = self._places.get(sid)
            return place.settings.config.frame_buffer if place else 1

    @property
    def all_open(self) -> bool:
        """Whether no session is still to be opened."""
        with self._lock:
            return all(place.opened for place in self._places.values())

    def open_again(self, for_memory: bool) -> list[Refused]:
        """Write to another worker what it has to open; give what the last one has left without an answer.

        Where it was lost for lack of memory and no change was under way to blame, the largest session gets lighter.
        """
        with self._lock:
            unanswered = [command for place in self._places.values() for command in place.pending.values()]
            if for_memory and self._places and not any(isinstance(command, Change) for command in unanswered):
                max(self._places.values(), key=lambda place: place.weight).lighter += 1
            self.mail = Mail()
            for sid, place in self._places.items():
                place.opened, place.pending = False, {}
                self.mail.put(Open(sid, place.settings, place.version, place.lighter, again=True))
            return [Refused(command.sid, command.request, AGAIN) for command in unanswered]

    def clear(self) -> None:
        """Forget all sessions."""
        with self._lock:
            self._places.clear()
            self.mail = Mail()

    def _withdraw(self, sid: str) -> None:
        """Have the worker close a session, unless it has not heard of it."""
        unsent = self.mail.withdraw(lambda message: getattr(message, "sid", None) == sid)
        if not any(isinstance(message, Open) for message in unsent):
            self.mail.put(Close(sid))
