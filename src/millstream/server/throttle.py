"""A flood of messages is slowed down, and in the end refused."""


class Throttle:
    """A bucket of messages that fills at a steady rate. Times are seconds of one clock."""

    def __init__(self, rate: float, now: float) -> None:
        """`rate` is messages a second; a burst of two seconds is let through."""
        self._rate, self._burst = rate, 2 * rate
        self._left, self._then = self._burst, now
        self.slowed = 0
        """Messages in a row that had to wait."""

    def delay(self, now: float) -> float:
        """Note a message; give the seconds to wait before the next one is read."""
        self._left = min(self._burst, self._left + (now - self._then) * self._rate) - 1
        self._then = now
        if self._left >= 0:
            self.slowed = 0 if self._left > self._burst / 2 else self.slowed
            return 0.0
        self.slowed += 1
        return -self._left / self._rate
