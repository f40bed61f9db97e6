"""An engine that gives every picture back as it came: what is measured then is all that is around an engine."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import sleep

from millstream.engine import Session
from millstream.frame import Frame
from millstream.models import Model
from millstream.server.engines import WatchedEngine


class Straight(WatchedEngine):
    """Each tick takes so many seconds and leaves the processor alone, as a card's does; its pictures leave with it."""

    def __init__(self, model: Model, seconds: float) -> None:
        super().__init__(model)
        self._seconds = seconds

    def tick(self, entering: Mapping[Session, Sequence[Frame]]) -> dict[Session, list[Frame]]:
        """See Engine. Nothing is ever in flight between two ticks, whatever the number of steps."""
        if any(entering.values()):
            sleep(self._seconds)
        return {session: [_through(frame, session) for frame in frames] for session, frames in entering.items()}


def _through(frame: Frame, session: Session) -> Frame:
    return replace(frame, version=session.version)
