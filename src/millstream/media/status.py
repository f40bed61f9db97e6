"""What a live sink can show beside the picture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from millstream.frame import Frame

KEYS = (
    "V: result alone, side by side, split",
    "F: full screen, Esc leaves it",
    "S: snapshot",
    "R: start or end a recording",
    "U: undo a change",
    "I: statistics",
    "Space: pause",
    "H: these keys",
    "Q: quit",
)
"""What keys do in a window."""

Acts = Mapping[str, Callable[[Frame], None]]
"""What the user of a live sink can do beside looking, by the key that asks for it; each is given the picture shown."""


@dataclass(frozen=True, slots=True)
class Status:
    """A notice for as long as it holds, lines of statistics for when they are asked for, and what last went in."""

    notice: str = ""
    lines: tuple[str, ...] = ()
    source: Frame | None = None
