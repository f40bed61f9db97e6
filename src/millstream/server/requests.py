"""Changes under way: a message is refused on the spot where the schema can, else answered when the engine has."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from millstream.server.fan import Outbox
from millstream.server.protocol import Id, ProtocolError, fault_of, field_of, say


@dataclass(frozen=True)
class Asker:
    """Who waits for an answer, and the name that the question has there."""

    outbox: Outbox
    id: Id


class Requests:
    """The questions of one session that the engine has not answered."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._open: dict[int, Asker] = {}

    def ask(self, outbox: Outbox, id: Id) -> int:
        """Number a question, from 1. Raises ProtocolError where too many are open."""
        if len(self._open) >= self._most:
            raise ProtocolError("too many changes at once; wait for their answers", "id", id)
        self._count += 1
        self._open[self._count] = Asker(outbox, id)
        return self._count

    def asker(self, number: int) -> Asker | None:
        """Who asked; the question stays open."""
        return self._open.get(number)

    def close(self, number: int) -> Asker | None:
        """Who asked; None where nobody waits any more."""
        return self._open.pop(number, None)


def refuse(asked: Asker, message: str) -> None:
    """Tell who asked why it was not done, and the field where the message begins with one."""
    field = field_of(message)
    asked.outbox.say(say("error", id=asked.id, message=message, **({"field": field} if field else {})))


def check_fields(schema: type[BaseModel], present: BaseModel, changes: dict[str, Any], id: Id | None = None) -> None:
    """Raise ProtocolError, with the field's name, where the schema refuses the changes."""
    try:
        schema.model_validate(present.model_dump() | changes)
    except ValidationError as error:
        raise fault_of(error, id) from None
