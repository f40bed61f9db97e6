"""What a client sees of a live stream: how old each picture is when it is shown, and whether they are in order."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from millstream.errors import MillstreamError

NUMBERS = 2**16  # the number in a picture's pixels begins anew after so many


class Seen(NamedTuple):
    """What was seen in so many seconds.

    `ages` are those of the pictures shown, in milliseconds, from the source's canvas to the result's, each counted
    once. `made` is what the source made meanwhile. Of the pictures shown some may be older than one before; those that
    came with another capture time than the source noted for the number in their pixels are `mislabelled`, without age.
    """

    seconds: float
    ages: list[float]
    made: int
    out_of_order: int
    mislabelled: int

    def shown(self) -> list[float]:
        """The ages, one at least. Raises MillstreamError where no picture was shown: there is nothing to measure."""
        if not self.ages:
            raise MillstreamError(
                f"no picture was shown in {self.seconds:.1f} s, though the source made {self.made}; "
                "look at the server's messages above, and at `millstream doctor`"
            )
        return self.ages


class Watch(Protocol):
    """A client that streams, and looks at the results."""

    @property
    def codec(self) -> str:
        """What the pictures travel in, both ways."""

    @property
    def backend(self) -> str | None:
        """What computes the ticks; None while that is being built, or not known yet."""

    def see(self, seconds: float) -> Seen:
        """Look for so long. Raises MillstreamError where the stream ends."""


@dataclass
class Tally:
    """Counts the pictures shown, by the number of their source picture."""

    ages: list[float] = field(default_factory=list)
    out_of_order: int = 0
    mislabelled: int = 0
    newest: int = -1

    def note(self, number: int, age: float, labelled: bool) -> None:
        """A picture is shown; the same one again says nothing. `age` in milliseconds."""
        if number == self.newest:
            return
        if not labelled:
            self.mislabelled += 1
            return
        self.out_of_order += self.newest >= 0 and (number - self.newest) % NUMBERS > NUMBERS // 2
        self.ages.append(age)
        self.newest = number

    def take(self, seconds: float, made: int) -> Seen:
        """What was counted since the last time."""
        seen = Seen(seconds, self.ages, made, self.out_of_order, self.mislabelled)
        self.ages, self.out_of_order, self.mislabelled = [], 0, 0
        return seen
