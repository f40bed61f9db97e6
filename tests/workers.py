"""A supervisor with a real worker process, and what it told."""

from collections.abc import Callable
from pathlib import Path
from threading import Condition
from time import monotonic

import numpy as np

from millstream.frame import Frame, Pixels
from millstream.params import ModelConfig, Params, Settings, StreamConfig
from millstream.server.engines import Make, WatchedEngine, make_engine
from millstream.server.messages import Back, Event, Opened, Picture, Refused
from millstream.server.supervisor import Limits, Supervisor
from tests import tiny

LIMIT = 240.0  # seconds: generous, for machines with other work


SOON = 30.0  # seconds until the sessions are open again, without the model's load: `bench live` holds it to 3


class Told:
    """What a supervisor told, in its order, and waiting for it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, kind, accept=lambda event: True):
        """The first event of a kind that is accepted; it and all before it are then forgotten."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._place(kind, accept) is not None, LIMIT), self._rest(kind)
            place = self._place(kind, accept)
            found = self.events[place]
            del self.events[: place + 1]
            return found

    def _place(self, kind, accept):
        return next((i for i, e in enumerate(self.events) if isinstance(e, kind) and accept(e)), None)

    def _rest(self, kind):
        return f"no {kind} among {[type(event).__name__ for event in self.events]}"


class Running:
    """A supervisor that is started, and stopped at the end of the block."""

    def __init__(self, make: Make | None = None, **limits: float) -> None:
        self.told = Told()
        self.supervisor = Supervisor(self.told, Limits(**limits), make)

    def __enter__(self) -> "Running":
        self.supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.stop()

    def open(self, sid: str, wanted: Settings) -> Opened:
        self.supervisor.open(sid, wanted)
        return self.told.wait(Opened, lambda event: event.sid == sid)

    def send(self, sid: str, number: int) -> None:
        self.supervisor.submit(sid, Frame(number, picture(number), monotonic()))

    def picture(self, sid: str, number: int) -> Frame:
        """Send a picture, and give its result."""
        self.send(sid, number)
        return self.told.wait(Picture, lambda event: event.sid == sid and event.frame.id == number).frame

    def refusal(self, request: int) -> str:
        return self.told.wait(Refused, lambda event: event.request == request).message


def load_noting(folder: Path, config: ModelConfig) -> WatchedEngine:
    """Make an engine, and note in a file how many seconds that took."""
    begun = monotonic()
    engine = make_engine(config)
    (folder / f"{begun}.load").write_text(str(monotonic() - begun))
    return engine


def without_load(back: Back, folder: Path) -> float:
    """The seconds of a recovery, less those in which `load_noting` loaded the model again."""
    notes = sorted(folder.glob("*.load"), key=lambda path: float(path.stem))
    assert len(notes) > 1
    return back.seconds - float(notes[-1].read_text())


def settings(**values) -> Settings:
    """Of the small model, eager, and holding: one picture in, one picture out."""
    config = {name: values.pop(name) for name in list(values) if name in StreamConfig.model_fields}
    form = {"width": 32, "height": 32, "steps": 2, "stall": "hold"} | config
    model = ModelConfig(name=str(tiny.small()))
    return Settings(model=model, config=StreamConfig(**form), params=Params(**values))


def picture(seed: int, size: int = 32) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def wait_until(accept: Callable[[], bool], what: str) -> None:
    """For what nothing tells of: the state of the system."""
    end = monotonic() + LIMIT
    pause = Condition()
    while not accept():
        assert monotonic() < end, what
        with pause:
            pause.wait(0.1)
