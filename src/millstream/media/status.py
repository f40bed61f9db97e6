"""What a live sink can show beside the picture."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """A notice for as long as it holds, and lines of statistics for when they are asked for."""

    notice: str = ""
    lines: tuple[str, ...] = ()
