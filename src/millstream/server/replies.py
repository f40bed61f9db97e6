"""The JSON messages of the server, version 1, for whoever reads them: served at `/api/v1/schema`, held to in the tests.

docs/protocol.md says what they mean.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from millstream.params import ModelConfig, Params, Settings, StreamConfig
from millstream.server.messages import Reason
from millstream.server.protocol import CodecName, Id
from millstream.server.recordings import Kind

EXACT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
LEFT_OUT: Any = None  # where a field does not apply it is left out; it is null only where its type says so

Count = Annotated[int, Field(ge=0)]


class Reply(BaseModel):
    """What all messages of the server share."""

    model_config = EXACT

    v: Literal[1]


class Percentiles(BaseModel):
    """Ages in milliseconds; null while there are none."""

    model_config = EXACT

    p50: float | None
    p95: float | None
    p99: float | None


class Welcome(Reply):
    """The client is admitted: the codecs chosen, the session as it is, the schemas of its settings."""

    type: Literal["welcome"]
    session: str
    viewers: str = LEFT_OUT
    role: Literal["control", "view"]
    send: CodecName | None
    receive: CodecName
    size: tuple[int, int]
    settings: Settings
    schemas: dict[Literal["model", "config", "params"], dict[str, Any]] = Field(alias="schema")
    limits: dict[str, float]
    version: Count
    device: str
    backend: str
    recording: bool


class Credit(Reply):
    """Pictures up to this number may be sent."""

    type: Literal["credit"]
    upto: Count


class KeyWanted(Reply):
    """The next picture is to be a key picture."""

    type: Literal["key"]


class Done(Reply):
    """Carried out. That of a recording has no settings."""

    type: Literal["ack"]
    id: Id = LEFT_OUT
    rev: Count
    model: ModelConfig = LEFT_OUT
    config: StreamConfig = LEFT_OUT
    params: Params = LEFT_OUT
    rebuilt: bool = LEFT_OUT
    traded: str = LEFT_OUT


class Building(Reply):
    """It takes a while; the old stream goes on."""

    type: Literal["building"]
    id: Id = LEFT_OUT
    what: str


class Refused(Reply):
    """Nothing has changed."""

    type: Literal["error"]
    id: Id = LEFT_OUT
    field: str = LEFT_OUT
    message: str


class Stats(Reply):
    """Each second; the engine's figures from its first report on. `memory` in bytes."""

    type: Literal["stats"]
    fps_in: float
    fps_out: float
    device: str
    viewers: Count
    age_ms: Percentiles = LEFT_OUT
    skipped: Count = LEFT_OUT
    dropped: Count = LEFT_OUT
    aged: Count = LEFT_OUT
    backend: str = LEFT_OUT
    memory: Count = LEFT_OUT
    steps: Count = LEFT_OUT
    width: Count = LEFT_OUT
    height: Count = LEFT_OUT
    traded: list[str] = LEFT_OUT
    stalled: bool = LEFT_OUT
    building: bool = LEFT_OUT


class Complete(Reply):
    """A file is complete; `seconds` of a recording."""

    type: Literal["file"]
    id: Id = LEFT_OUT
    kind: Kind
    url: str
    name: str
    bytes: Count
    seconds: float = LEFT_OUT


class Event(Reply):
    """What happened without being asked for."""

    type: Literal["event"]
    name: Literal["control", "viewer", "away", "failed", "idle", "recording", "recorded", "said"]
    message: str = LEFT_OUT


class Lost(Reply):
    """The engine's worker is no more, and a fresh one is on its way."""

    type: Literal["event"]
    name: Literal["lost"]
    reason: Reason
    message: str


class Back(Reply):
    """The stream goes on in a fresh worker, so many seconds later."""

    type: Literal["event"]
    name: Literal["back"]
    seconds: float


AnyEvent = Annotated[Event | Lost | Back, Field(discriminator="name")]
AnyReply = Welcome | Credit | KeyWanted | Done | Building | Refused | Stats | Complete | AnyEvent
REPLIES: TypeAdapter[AnyReply] = TypeAdapter(Annotated[AnyReply, Field(discriminator="type")])
