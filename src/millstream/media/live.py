"""Live sources and sinks by their names, as the command line takes them."""

import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from millstream.errors import OutputError
from millstream.frame import Frame
from millstream.media.base import Source, SourceInfo
from millstream.media.camera import CameraSource, find_device
from millstream.media.paced import PacedSource
from millstream.media.recording import PipeSink, Recording
from millstream.media.screen import ScreenSource
from millstream.media.sinks import open_sink
from millstream.media.sources import open_source
from millstream.media.status import Acts, Status

if TYPE_CHECKING:
    from millstream.media.window import Window

CAMERA, SCREEN, WINDOW, STDOUT = "camera", "screen", "window", "-"
SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")


class LiveSink(Protocol):
    """A place for live pictures, as a context; it holds a playable result however it is left, if any picture came."""

    def run(self, pictures: Iterable[Frame], status: Callable[[float], Status], stop: Event, acts: Acts) -> None:
        """Take `pictures` until they end. A sink whose user has enough sets `stop`, which ends them.

        Where it has keys, they do `acts`.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_live(spec: str, loop: bool = True) -> Source:
    """Open `camera[:N]`, `screen[:N]`, `screen:x,y,width,height`, or what `open_source` takes, paced by its times.

    Frames carry `time.monotonic()` of their capture. Raises BadInputError when the source cannot be used.
    """
    kind, _, which = spec.partition(":")
    if kind == CAMERA:
        return CameraSource(find_device(which or "0"))
    if kind == SCREEN:
        return ScreenSource(which)
    return PacedSource(open_source(spec), loop)


def open_live_sink(spec: str, like: SourceInfo) -> LiveSink:
    """Choose a `window`, stdout for `-`, or a recording to a video file. Raises OutputError for anything else."""
    if spec == WINDOW:
        return _window()
    if spec == STDOUT:
        return Recording(PipeSink())
    if Path(spec).suffix.lower() not in SUFFIXES:
        raise OutputError(f"{spec}: live pictures go to `{WINDOW}`, `{STDOUT}` or a video ({' '.join(SUFFIXES)})")
    return Recording(open_sink(spec, SourceInfo(like.width, like.height, like.rate)), Path(spec))


def open_display() -> str:
    """Connect to the display and leave it; give its kind. Raises OutputError where no window can be opened."""
    with _window() as window:
        return window.kind


def _window() -> "Window":
    if find_spec("pygame") is None:
        raise OutputError("window: needs pygame-ce; pip install 'millstream[live]'")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # it would greet on stdout

    from millstream.media.window import Window  # noqa: PLC0415

    return Window()
