"""Keeping pictures below an age: what is given up for it, in which order, and when it is taken back.

The age of a picture is what it brought with it when it was taken in, and the time the engine took. The ladder says what
can be given up: steps, halved down to one; then size, to three quarters and to a half of each side; then frames: one
that cannot make the bound is let go of before it enters.

Down: more than half of the last pictures were too old. The engine's time is taken to shrink with the square of the
steps and with the pixels, the most it may, so that no more is given up than needed; another move follows if need be.

Up, by one rung: for some seconds the bound would have been kept on the rung above too. What that costs, against this
rung, was measured where both were stood on; else, and at most, it is the square of the ratio of steps and the 1.5th
power of that of pixels, which no engine exceeds whose tick is a constant and a part in proportion to its rows. So under
a load that stays the same a move up is taken back once at most: by then its cost is known. Whatever the engine does,
each move up that is taken back doubles the wait before the next, so that moves grow with the logarithm of time.
"""

from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from statistics import median
from typing import NamedTuple

from millstream.params import StreamConfig

FLOOR = 0.5  # seconds after which a picture is taken in and shown whatever its age: never a dead picture
SEEN = 8  # pictures by which a rung is judged
ENOUGH = 4  # and how many of them there have to be
WAIT = 3.0  # seconds for which the rung above has to be in reach before it is tried
LONGEST_WAIT = 300.0
SIDES = (Fraction(3, 4), Fraction(1, 2))
MARGIN = 1.1  # by which a picture must be younger than the bound before more is asked of the engine
PIXELS_POWER = 1.5  # between a convolution's 1 and an attention's 2
TINY = 1e-6  # seconds


class Rung(NamedTuple):
    """What a stream computes. `thins`: frames that cannot make the bound do not enter."""

    steps: int
    width: int
    height: int
    thins: bool = False

    @property
    def pixels(self) -> int:
        """Of one picture."""
        return self.width * self.height

    def shrinks(self, to: "Rung") -> float:
        """What is left of the engine's time on a rung below, at least."""
        return (to.steps / self.steps) ** 2 * to.pixels / self.pixels

    def grows(self, to: "Rung") -> float:
        """By how much the engine's time grows on a rung above, at most."""
        return float((to.steps / self.steps) ** 2 * (to.pixels / self.pixels) ** PIXELS_POWER)


def ladder(config: StreamConfig, multiple: int) -> list[Rung]:
    """The rungs of a complete configuration, from what was asked for down; sides are multiples of `multiple`."""
    assert config.width and config.height
    rungs = [Rung(config.steps, config.width, config.height)]
    while rungs[-1].steps > 1:
        rungs.append(rungs[-1]._replace(steps=rungs[-1].steps // 2))
    for share in SIDES:
        width, height = (max(multiple, int(side * share) // multiple * multiple) for side in rungs[0][1:3])
        rungs.append(Rung(1, width, height))
    return [*dict.fromkeys(rungs), rungs[-1]._replace(thins=True)]


class Seen(NamedTuple):
    """A finished picture: the age that it brought with it, and the time that the engine took. Seconds."""

    brought: float
    engine: float

    @property
    def age(self) -> float:
        """When it was finished."""
        return self.brought + self.engine


class Keeper:
    """Watches ages and says which rung to stand on. Times are in seconds; the caller moves, for a rung takes building.

    `at` is the rung that the shown pictures are made on.
    """

    def __init__(self, rungs: Sequence[Rung], at: int = 0) -> None:
        self.rungs, self.at = list(rungs), at
        self._seen: deque[Seen] = deque(maxlen=SEEN)
        self._near_since: float | None = None  # since when the rung above has been in reach
        self._wait, self._rose = WAIT, False
        self._entered = self._shown = float("-inf")
        self._admitted = self._offered = 0
        self._costs: dict[Rung, float] = {}  # the engine's time, relative to each other
        self._came: tuple[Rung, float] | None = None  # from which rung, and its time then

    @property
    def rung(self) -> Rung:
        """What the shown pictures are made on."""
        return self.rungs[self.at]

    @property
    def share(self) -> Fraction:
        """How many of the frames enter, about."""
        return Fraction(self._admitted or 1, self._offered or 1).limit_denominator(4)

    def reset(self) -> None:
        """Forget what was seen: the bound or the session is another."""
        self._seen.clear()
        self._near_since = None
        self._admitted = self._offered = 0

    def moved(self, to: int) -> None:
        """Note that pictures are made on another rung from now on."""
        if to > self.at and self._rose:
            self._wait = min(2 * self._wait, LONGEST_WAIT)
        self._rose = to < self.at
        self._came = (self.rung, self._engine()) if self._seen else None
        self.at = to
        self.reset()

    def forbid(self, rung: int) -> None:
        """Take out a rung that cannot be built."""
        del self.rungs[rung]
        self.at -= rung < self.at

    def admits(self, age: float, bound: float | None, now: float) -> bool:
        """Whether a frame of this age is to enter: on the last rung it may not, if it cannot make the bound."""
        late = bound is not None and self.rung.thins and age + self._engine() > bound
        enters = not late or now - self._entered >= FLOOR
        self._offered += 1
        self._admitted += enters
        if enters:
            self._entered = now
        else:
            self._near_since = None
        return enters

    def shows(self, seen: Seen, bound: float | None, now: float) -> bool:
        """Note a finished picture; whether it is to be shown."""
        self._seen.append(seen)
        self._learn()
        near = bound is not None and self._in_reach(bound)
        self._near_since = (self._near_since or now) if near else None
        shown = bound is None or seen.age <= bound or now - self._shown >= FLOOR
        self._shown = now if shown else self._shown
        return shown

    def wanted(self, bound: float | None, now: float) -> int:
        """The rung to move to; the present one where all is well, or where nothing can be judged yet."""
        if bound is None:
            return 0
        if len(self._seen) < ENOUGH:
            return self.at
        if 2 * sum(seen.age > bound for seen in self._seen) > len(self._seen):
            return self._lower(bound)
        rises = self._near_since is not None and now - self._near_since >= self._wait
        return self.at - rises

    def _lower(self, bound: float) -> int:
        """The first rung below that may keep the bound, or the last. What a picture brings with it, none mends."""
        if self._brought() >= bound:
            return self.at
        for place, rung in enumerate(self.rungs[self.at + 1 :], self.at + 1):
            if self._brought() + self._engine() * self.rung.shrinks(rung) <= bound:
                return place
        return len(self.rungs) - 1

    def _in_reach(self, bound: float) -> bool:
        """Whether the rung above would keep the bound. A frame waits for half a tick there, and half a tick here."""
        if not self.at or len(self._seen) < ENOUGH:
            return False
        above = self.rungs[self.at - 1]
        engine = self._engine() * self._growth(above) * MARGIN
        return self._brought() + engine * (1 + 1 / (2 * above.steps)) <= bound

    def _growth(self, above: Rung) -> float:
        limit = self.rung.grows(above)
        known = above in self._costs and self.rung in self._costs
        return min(limit, self._costs[above] / self._costs[self.rung]) if known else limit

    def _learn(self) -> None:
        """Compare this rung's cost with that of the one before, once enough pictures are seen."""
        if self._came is None or len(self._seen) < ENOUGH:
            return
        (before, engine), self._came = self._came, None
        self._costs[self.rung] = self._costs.setdefault(before, 1.0) * self._engine() / max(engine, TINY)

    def _brought(self) -> float:
        return median(seen.brought for seen in self._seen)

    def _engine(self) -> float:
        return median(seen.engine for seen in self._seen) if self._seen else 0.0


def describe(asked: Rung, present: Rung, share: Fraction) -> list[str]:
    """What is traded, in words; nothing where nothing is."""
    traded = []
    if present.steps != asked.steps:
        traded.append(f"steps {asked.steps} -> {present.steps}")
    if present.pixels != asked.pixels:
        traded.append(f"size {asked.width}x{asked.height} -> {present.width}x{present.height}")
    if present.thins and share < 1:
        traded.append(f"frames {share}")
    return traded
