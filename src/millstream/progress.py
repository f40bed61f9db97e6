"""How far the work is: a bar on the terminal, and a first Ctrl-C that lets the frame in hand finish."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class SpeedColumn(ProgressColumn):
    """Frames a second."""

    def render(self, task: Task) -> Text:
        """Give the speed of the last half minute, or nothing before the second frame."""
        return Text(f"{task.speed:.1f} frames/s" if task.speed else "")


@contextmanager
def frame_bar(total: int | None) -> Iterator[Callable[[], None]]:
    """Show a bar on stderr where that is a terminal; give the function that counts a frame."""
    columns = BarColumn(), MofNCompleteColumn(), SpeedColumn(), TimeRemainingColumn(), TextColumn("left")
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


@contextmanager
def stop_asked() -> Iterator[Event]:
    """Turn the first Ctrl-C into a set event; a second one interrupts as usual. For the main thread."""
    stop = Event()
    usual = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, usual)
