"""Pull credit: when a client may send its next pictures, so that each arrives just before the engine is free."""

from collections import deque

SPARE = 0.006  # seconds that a picture should arrive before the engine is free
SHARE = 0.15  # of a new value in a moving average
LONGEST_LEAD = 0.5  # seconds; a picture that took longer waited for its source
MOST_AHEAD = 8  # pictures under way at most


class Pace:
    """The credit of one client. Times are seconds of one clock; sequence numbers begin at 0.

    A picture occupies the engine for a time P, and takes a lead from the credit to its arrival. It is due when the
    engine will be free, so the credit goes out P - lead - 6 ms after the one before began. Where the lead is longer
    than P, several are under way. Credit is cumulative: a picture that is dropped costs none.
    """

    def __init__(self, stages: int, frames: int, least: float) -> None:
        """`stages` and `frames` are those of the stream batch; `least` is the shortest time between two pictures."""
        self.least = self.process = least
        self.lead = 0.0
        self.upto = 0
        self._granted: dict[int, float] = {}
        self._newest, self._came = -1, 0.0  # the newest picture, and when it came
        self._begins = self._free = 0.0  # when the engine takes it, and when it will take the next
        self._finished: deque[float] = deque()
        self.reshape(stages, frames)

    def reshape(self, stages: int, frames: int) -> None:
        """Note the stages and frames of another stream batch."""
        self.stages, self.frames = stages, frames
        self._finished = deque(self._finished, maxlen=frames + 1)

    def begin(self, now: float) -> int:
        """Grant the first credit; give it."""
        self._granted[0] = self._free = now
        return self.upto

    def arrived(self, sequence: int, now: float) -> float:
        """Note a picture; give the time at which to call `grant`."""
        self._measure(sequence, now)
        self._newest, self._came = sequence, now
        self._begins = max(now, self._free)
        self._free = self._begins + self.process
        return max(now, self._free - self.lead % self.process - SPARE)

    def grant(self, sequence: int, now: float) -> int:
        """Extend the credit for the arrival of this picture; give it."""
        wanted = sequence + 1 + min(int(self.lead / self.process), MOST_AHEAD - 1)
        self._granted |= dict.fromkeys(range(self.upto + 1, wanted + 1), now)
        self.upto = max(self.upto, wanted)
        return self.upto

    def finished(self, sequence: int, age: float, now: float) -> None:
        """Learn from a result that left `age` seconds after its picture arrived.

        Both the time between results and the age over all stages are at least P: the first is P where the engine is
        busy, the second where it waits.
        """
        waits = sequence != self._newest and (not self._finished or self._came > self._finished[-1])
        bounds = [age / (self.stages * self.frames)]
        if len(self._finished) == self.frames + 1:
            bounds.append((now - self._finished[1]) / self.frames)
        new = min(bounds)
        self.process = max(self.least, self.process + SHARE * (new - self.process) if self._finished else new)
        self._finished.append(now)
        # Now one tick has ended and the next begins: what was foreseen is set right.
        self._free = now + self.process if waits else max(now, self._begins + self.least)

    def _measure(self, sequence: int, now: float) -> None:
        granted = self._granted.pop(sequence, None)
        for old in [number for number in self._granted if number < sequence]:
            del self._granted[old]
        if granted is not None and now - granted <= LONGEST_LEAD:
            self.lead += SHARE * (now - granted - self.lead)
