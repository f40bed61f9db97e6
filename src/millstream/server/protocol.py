"""The live connection, version 1: a picture's binary header, and the JSON messages of both directions.

docs/protocol.md says what they mean.
"""

import json
import math
import struct
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from millstream.errors import BadInputError
from millstream.params import ModelConfig, Params, StreamConfig

VERSION = 1
PATH = "/api/v1/live"
HEADER = struct.Struct("<BBBBIdI")  # version, kind, codec, flags, sequence, capture time, revision
PICTURE = 1
KEY = 1

CodecName = Literal["jpeg", "h264", "vp8"]
CODECS: tuple[CodecName, ...] = get_args(CodecName)  # the place is the number on the wire

BAD, IDLE, FLOOD, REPLACED = 4000, 4001, 4002, 4003  # close codes
GONE, BROKEN = 1001, 1011
MAX_SEQUENCE = 2**32 - 1
FIELDS = {*Params.model_fields, *StreamConfig.model_fields, *ModelConfig.model_fields}


class ProtocolError(BadInputError):
    """A message that is refused; `field` names what is wrong with it, `id` is its own, where it has one."""

    def __init__(self, message: str, field: str | None = None, id: "Id | None" = None) -> None:
        super().__init__(message)
        self.field, self.id = field, id


@dataclass(frozen=True, slots=True)
class Packet:
    """One encoded picture. `capture` is in milliseconds of the clock of the client that sent it."""

    codec: CodecName
    key: bool
    sequence: int
    capture: float
    revision: int
    payload: bytes


def pack(packet: Packet) -> bytes:
    """The bytes of a binary message."""
    flags = KEY if packet.key else 0
    head = (VERSION, PICTURE, CODECS.index(packet.codec), flags, packet.sequence, packet.capture, packet.revision)
    return HEADER.pack(*head) + packet.payload


def unpack(data: bytes) -> Packet:
    """Read a binary message. Raises ProtocolError."""
    if len(data) <= HEADER.size:
        raise ProtocolError(f"a picture needs {HEADER.size} bytes of header and its data (got {len(data)})", "header")
    version, kind, codec, flags, sequence, capture, revision = HEADER.unpack_from(data)
    known = (("version", version == VERSION), ("kind", kind == PICTURE), ("codec", codec < len(CODECS)))
    for field, fine in (*known, ("flags", flags in (0, KEY)), ("capture", math.isfinite(capture))):
        if not fine:
            raise ProtocolError(f"{field}: unknown value in the header", field)
    return Packet(CODECS[codec], bool(flags & KEY), sequence, capture, revision, data[HEADER.size :])


Id = int | str


class Message(BaseModel):
    """What all messages of a client share."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    v: Literal[1]


class Request(Message):
    """A message that is answered; the answer repeats `id`."""

    id: Annotated[int, Field(ge=0, le=2**53)] | Annotated[str, Field(max_length=64)]


Side = Annotated[int, Field(ge=1, le=2**16)]
Names = Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=8)]


class Hello(Message):
    """First message: codecs that the client can send and receive, best first, and the size of its pictures."""

    type: Literal["hello"]
    send: Names = []
    receive: Annotated[Names, Field(min_length=1)]
    size: Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    name: str | None = Field(None, max_length=80)


class Set(Request):
    """Change parameters for the pictures that enter from now on."""

    type: Literal["set"]
    params: dict[str, Any]
    in_flight: bool = False


class Change(Request):
    """Change what the stream is, its model or its configuration, and with it parameters."""

    type: Literal["change"]
    model: dict[str, Any] | None = None
    config: dict[str, Any] = {}
    params: dict[str, Any] = {}


class Ack(Message):
    """The newest picture shown, and how old it was then, in milliseconds."""

    type: Literal["ack"]
    seq: int = Field(ge=0, le=MAX_SEQUENCE)
    age_ms: float = Field(ge=0, le=1e6)


class KeyWanted(Message):
    """The next picture is to be a key picture."""

    type: Literal["key"]


class Take(Message):
    """Take over control."""

    type: Literal["take"]


class Record(Request):
    """Begin or end a recording."""

    type: Literal["record"]
    on: bool


class Snapshot(Request):
    """Keep the newest result as a file."""

    type: Literal["snapshot"]


class Bye(Message):
    """The client leaves, and does not come back."""

    type: Literal["bye"]


class Reset(Message):
    """Forget the ages measured so far."""

    type: Literal["reset"]


AnyMessage = Hello | Set | Change | Ack | KeyWanted | Take | Record | Snapshot | Bye | Reset
MESSAGES: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="type")])


def parse(text: str, most: int) -> AnyMessage:
    """Read a client's message of at most `most` characters. Raises ProtocolError with the name of the field."""
    if len(text) > most:
        raise ProtocolError(f"a message of {len(text)} characters; the limit is {most}", "message")
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise ProtocolError("not JSON: send an object with `v`, `type` and its fields", "message") from None
    if not isinstance(value, dict):
        raise ProtocolError("no object: send one with `v`, `type` and its fields", "message")
    try:
        return MESSAGES.validate_python(value)
    except ValidationError as error:
        raise fault_of(error, _id_of(value)) from None


def fault_of(error: ValidationError, id: Id | None = None) -> ProtocolError:
    """The first fault that a schema found, in one line that names the field."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return ProtocolError("type: unknown or missing; see docs/protocol.md", "type", id)
    if not first["loc"]:  # of several fields together; the message begins with one
        return ProtocolError(message, field_of(message), id)
    place = first["loc"][1:] if first["loc"] and first["loc"][0] in TYPES else first["loc"]
    names = [part for part in place if isinstance(part, str) and part.isidentifier()]
    field = names[0][:80] if names else None
    return ProtocolError(f"{'.'.join(names)[:80]}: {message}" if field else message, field, id)


def field_of(message: str) -> str | None:
    """The field of the settings that a message begins with, if it does."""
    field = message.partition(":")[0]
    return field if field in FIELDS else None


TYPES = {get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(AnyMessage)}


def say(type: str, **fields: Any) -> str:
    """A message of the server."""
    return json.dumps({"v": VERSION, "type": type} | fields)


def _id_of(value: dict[str, Any]) -> Id | None:
    found = value.get("id")
    if isinstance(found, str):
        return found[:64]
    return found if type(found) is int and 0 <= found <= 2**53 else None  # `true` is an int too
