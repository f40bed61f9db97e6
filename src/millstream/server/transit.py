"""A picture's way through the engine: its number and capture time come back with it, and its age bounds all of it."""

from collections import deque
from dataclasses import dataclass
from typing import TypeVar

V = TypeVar("V")

KEPT = 4096  # pictures in flight: 50 stages of up to 64 frames, and those that gave way
SENT = 256
AGES = 512
SHARE = 0.1  # of a new value in a moving average
LONGEST = 1.0  # seconds of transport that are believed


@dataclass(frozen=True, slots=True)
class Stamp:
    """What came with a picture: the client's number and clock (milliseconds), and when it arrived (seconds)."""

    sequence: int
    capture: float
    arrived: float


class Transit:
    """The pictures of one controller under way. Times in seconds are those of time.monotonic()."""

    def __init__(self) -> None:
        self.transport = 0.0
        """Seconds of a picture's age that it spends outside: before it arrives, and after it is sent."""
        self.ages: deque[float] = deque(maxlen=AGES)
        self._stamps: dict[int, Stamp] = {}
        self._inside: dict[int, float] = {}
        self._newest = -1

    def enters(self, frame: int, stamp: Stamp) -> float:
        """Keep the stamp; give the picture's capture time on the server's clock."""
        _keep(self._stamps, frame, stamp, KEPT)
        return stamp.arrived - self.transport

    def leaves(self, frame: int, now: float) -> tuple[Stamp | None, bool]:
        """The stamp of a result, None where its picture came from another; and whether it is there the first time."""
        stamp = self._stamps.get(frame)
        if stamp is None or stamp.sequence <= self._newest:  # one that was sent again is as old as its source
            return stamp, False
        self._newest = stamp.sequence
        _keep(self._inside, stamp.sequence, now - stamp.arrived, SENT)
        return stamp, True

    def shown(self, sequence: int, age: float) -> None:
        """Learn from the age at which the controller showed a result."""
        inside = self._inside.pop(sequence, None)
        if inside is not None:
            self.ages.append(age)
            outside = min(max(age - inside, 0.0), LONGEST)
            self.transport += SHARE * (outside - self.transport)

    def reset(self) -> None:
        """Forget the ages."""
        self.ages.clear()


def _keep(store: dict[int, V], key: int, value: V, most: int) -> None:
    store[key] = value
    if len(store) > most:
        del store[next(iter(store))]
