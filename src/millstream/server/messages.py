"""What the server and its engine worker tell each other. Values alone: they go through a pipe between two processes.

The pipe is trusted: both ends are processes of this program, and nothing that a client sent is unpickled.
"""

import pickle
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Literal

from millstream.frame import Frame
from millstream.params import Params, Settings, StreamConfig

if TYPE_CHECKING:
    from millstream.live.stats import LiveStats

Reason = Literal["died", "hung", "memory"]
FAULT, OUT_OF_MEMORY = 70, 71  # exit codes of a worker
RESTARTED = "the engine is started again"  # what clients are told when a worker is lost
OPENING = 0  # in place of a request's number: the opening of a session


@dataclass(frozen=True)
class Open:
    """Open a session, whose parameters have this version; `lighter` times a step down in size, or in steps.

    `again`: a worker that had it was lost, and it goes further down where it still does not fit.
    """

    sid: str
    settings: Settings
    version: int = 1
    lighter: int = 0
    again: bool = False


@dataclass(frozen=True)
class Submit:
    """A picture for a session."""

    sid: str
    frame: Frame


@dataclass(frozen=True)
class Set:
    """Change fields of Params."""

    sid: str
    request: int
    changes: dict[str, Any]
    in_flight: bool = False


@dataclass(frozen=True)
class Change:
    """Change fields of ModelConfig and of StreamConfig: what has to be built anew; and with it fields of Params."""

    sid: str
    request: int
    model: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Close:
    """End a session."""

    sid: str


Command = Open | Submit | Set | Change | Close


@dataclass(frozen=True)
class Opened:
    """A session is open, or open again. `settings` is what was asked for, `config` what it came to.

    `traded` says in words what was given up to fit into memory; it is empty where nothing was.
    """

    sid: str
    config: StreamConfig
    params: Params
    version: int
    device: str
    settings: Settings
    traded: str = ""


@dataclass(frozen=True)
class Picture:
    """A finished picture. Its pixels may not be written to."""

    sid: str
    frame: Frame


@dataclass(frozen=True)
class Answered:
    """A request was carried out. `rebuilt`: by a new session, whose first picture is out."""

    sid: str
    request: int
    version: int
    config: StreamConfig
    params: Params
    rebuilt: bool
    settings: Settings


@dataclass(frozen=True)
class Refused:
    """A request was not carried out, for this reason and with this cure; of request 0: the session is not open."""

    sid: str
    request: int
    message: str


@dataclass(frozen=True)
class Building:
    """A change has begun that takes time; `what` names the fields that change. The old session goes on until then."""

    sid: str
    request: int
    what: str


@dataclass(frozen=True)
class Said:
    """A remark on a prompt: cut, or with words that the model does not know."""

    sid: str
    message: str


@dataclass(frozen=True)
class Stats:
    """The figures of a session, each second; `memory_bytes` is what the worker holds, on the session's device."""

    sid: str
    stats: "LiveStats"
    memory_bytes: int


@dataclass(frozen=True)
class Ticks:
    """Of an engine's tick under way, and of the last one before, the seconds they took; 0 for none.

    `patient`: it is the first of a session, which may take long.
    """

    under_way: float = 0.0
    last: float = 0.0
    patient: bool = False


@dataclass(frozen=True)
class Beat:
    """A sign of life, with the ticks of each engine.

    `patient`: the worker does what may keep it silent, such as loading a model, building a graph or a first tick.
    """

    engines: tuple[Ticks, ...] = ()
    patient: bool = True


@dataclass(frozen=True)
class Lost:
    """The worker is no more. A fresh one is started, and opens every session again."""

    reason: Reason


@dataclass(frozen=True)
class Back:
    """Every session is open again, so many seconds after the worker was lost."""

    seconds: float


@dataclass(frozen=True)
class Failed:
    """Fresh workers were lost too, again and again. No session is open; a new one tries again."""

    message: str


Event = Opened | Picture | Answered | Refused | Building | Said | Stats | Lost | Back | Failed


def send(connection: Connection, message: object) -> None:
    """Send one message; pictures go as they lie, past the pickle. Raises OSError where nobody is at the other end."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    connection.send_bytes(bytes([len(buffers)]) + body)
    for buffer in buffers:
        connection.send_bytes(buffer.raw())


def receive(connection: Connection) -> Any:
    """Wait for a message; its arrays may not be written to. Raises EOFError or OSError where the pipe has ended."""
    head = memoryview(connection.recv_bytes())
    buffers = [connection.recv_bytes() for _ in range(head[0])]
    return pickle.loads(head[1:], buffers=buffers)
