"""What a source and a sink are, and how large a picture may be."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from millstream.errors import BadInputError
from millstream.frame import Frame

DEFAULT_RATE = Fraction(25)
MAX_SIDE = 16_384
MAX_PIXELS = 100_000_000


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known before the first frame. Sizes are as shown: after rotation, with square pixels."""

    width: int
    height: int
    rate: Fraction | None = None
    """Frames a second; None for stills, folders and iterators, which are timed at 25."""
    frames: int | None = None
    """Exact or the best estimate; None when unknown."""
    path: Path | None = None
    """Where audio can be taken from."""
    has_audio: bool = False
    duration: Fraction | None = None
    """Seconds from time 0 to the end of the last frame; None when unknown."""


@runtime_checkable
class Source(Protocol):
    """Frames in order of presentation, ids from 0, times in seconds from the start of the source.

    Iterating raises BadInputError when a picture cannot be read.
    """

    info: SourceInfo

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Let go of a device, if one is held. Files are open only while they are iterated."""
        return


class Sink(Protocol):
    """A place for frames, as a context.

    Left without an error, by Ctrl-C, or because a generator around it is closed, it holds a playable result; left by
    any other error, it is as it was before. Entering, writing and leaving raise OutputError when the result cannot be
    written.
    """

    def write(self, frame: Frame) -> None:
        """Take the next frame."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_size(width: int, height: int, name: object) -> None:
    """Raise BadInputError when a picture is too large to be decoded with safety, or empty."""
    if min(width, height) < 1:
        raise BadInputError(f"{name}: a picture of {width}x{height}; every side needs at least one pixel")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        limit = f"{MAX_SIDE} a side and {MAX_PIXELS // 1_000_000} million pixels"
        raise BadInputError(f"{name}: {width}x{height} is too large; make it smaller, the limit is {limit}")
