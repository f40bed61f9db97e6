"""What a user asks of a running show by a line of text: a prompt, or a setting by its name; and the way back."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import yaml

from millstream.errors import BadInputError, MillstreamError
from millstream.params import Params, StreamConfig

if TYPE_CHECKING:
    from millstream.pipeline import Stream

MOST = 200  # changes that can be undone
MARK = ":"  # before the name of a setting
HOW = "write a prompt, or `:NAME VALUE`, for example `:strength 0.6`"


class Desk:
    """Changes one stream; what becomes of it is told by `tell`, in one line. For any thread."""

    def __init__(self, stream: "Stream", tell: Callable[[str], None]) -> None:
        self._stream, self._tell = stream, tell
        self._undone: deque[dict[str, Any]] = deque(maxlen=MOST)  # what stood before each change

    def obey(self, line: str) -> None:
        """Carry out a line: `:NAME VALUE`, or else a prompt; an empty one is nothing."""
        if not line.strip():
            return
        try:
            changes = read(line.strip())
        except MillstreamError as error:
            self._tell(str(error))
        else:
            before = {name: self._value(name) for name in changes}
            self._undone.append(before)
            self._change(changes, lambda: self._forget(before))

    def undo(self) -> None:
        """Go back by one change; where there is none, say so."""
        if self._undone:
            self._change(self._undone.pop(), lambda: None)
        else:
            self._tell("nothing to undo")

    def _forget(self, before: dict[str, Any]) -> None:
        """Leave out the step of a change that failed; by identity, for others may look alike."""
        with suppress(StopIteration):  # it was undone already
            del self._undone[next(i for i, step in enumerate(self._undone) if step is before)]

    def _value(self, name: str) -> Any:
        return getattr(self._stream.params if name in Params.model_fields else self._stream.config, name)

    def _change(self, changes: dict[str, Any], failed: Callable[[], None]) -> None:
        """Change what is live at once, and have the rest built."""
        try:
            if changes.keys() <= Params.model_fields.keys():
                self._stream.update(**changes)
                self._tell(f"changed: {', '.join(changes)}")
            else:
                self._tell(f"building: {', '.join(changes)}")
                self._stream.change(**changes).add_done_callback(lambda done: self._built(changes, failed, done))
        except MillstreamError as error:
            failed()
            self._tell(str(error))

    def _built(self, changes: dict[str, Any], failed: Callable[[], None], done: Future[StreamConfig]) -> None:
        if done.cancelled():
            return  # a newer one has taken it in
        error = done.exception()
        if error:
            failed()
        self._tell(str(error) if error else f"changed: {', '.join(changes)}")


def read(line: str) -> dict[str, Any]:
    """The field that a line changes. Raises BadInputError where there is none of this name."""
    if not line.startswith(MARK):
        return {"prompt": line}
    name, _, value = line.removeprefix(MARK).strip().partition(" ")
    name = name.replace("-", "_")
    if name not in Params.model_fields.keys() | StreamConfig.model_fields.keys() - {"input"}:
        raise BadInputError(f"no setting is called '{name}'; {HOW}")
    try:
        return {name: yaml.safe_load(value)}
    except (yaml.YAMLError, ValueError):  # a date that is none is a ValueError of YAML
        raise BadInputError(f"{name}: cannot be read; {HOW}") from None
