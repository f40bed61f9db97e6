"""The screen, one monitor or a part of it, as a source."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from millstream.errors import BadInputError
from millstream.frame import Frame
from millstream.media.base import Source, SourceInfo, check_size

if TYPE_CHECKING:
    from mss import MSS

RATE = Fraction(30)
_REGION = re.compile(r"(-?\d+),(-?\d+),(\d+),(\d+)")
_INSTALL = "pip install 'millstream[live]'"

Region = dict[str, int]


class ScreenSource(Source):
    """A part of the screen, 30 times a second without end, timed by `time.monotonic()` when it is taken.

    `which` is empty for the first monitor, N for the N-th (from 1; 0 is all of them), or `x,y,width,height` in the
    coordinates of the whole desktop. Raises BadInputError when there is no screen to be seen, or no such part of it.
    `close` may be called from any thread.
    """

    def __init__(self, which: str = "") -> None:
        self._closed = Event()
        with _opened() as screen:
            self._region = _region(screen, which)
        width, height = self._region["width"], self._region["height"]
        check_size(width, height, "screen")
        self.info = SourceInfo(width, height, RATE)

    def __iter__(self) -> Iterator[Frame]:
        count, due = 0, monotonic()
        with _opened() as screen:  # anew, because a connection belongs to the thread that made it
            while not self._closed.wait(max(0.0, due - monotonic())):
                now = monotonic()
                blue_first = np.asarray(screen.grab(self._region))
                yield Frame(count, np.ascontiguousarray(blue_first[..., 2::-1]), now)
                count, due = count + 1, max(due + float(1 / RATE), now)

    def close(self) -> None:
        """End the iteration."""
        self._closed.set()


@contextmanager
def _opened() -> "Iterator[MSS]":
    try:
        from mss import MSS, ScreenShotError  # noqa: PLC0415
    except ImportError:
        raise BadInputError(f"screen: needs mss; {_INSTALL}") from None
    if sys.platform == "linux" and os.environ.get("XDG_SESSION_TYPE") == "wayland":
        raise BadInputError(
            "screen: Wayland shows it to no program; log in with X11, or share it in the browser's page"
        )
    try:
        with MSS() as screen:
            yield screen
    except ScreenShotError as error:
        raise BadInputError(f"screen: {error}; start from a desktop, and allow screen recording") from None


def _region(screen: "MSS", which: str) -> Region:
    whole, *monitors = [
        {side: monitor[side] for side in ("left", "top", "width", "height")} for monitor in screen.monitors
    ]
    if not which or which.isdecimal():
        index = int(which or 1)
        if index > len(monitors):
            raise BadInputError(
                f"screen:{which}: there are {len(monitors)} monitors; give 1 to {len(monitors)}, or 0 for all"
            )
        return [whole, *monitors][index]
    return _part(whole, which)


def _part(whole: Region, which: str) -> Region:
    numbers = _REGION.fullmatch(which)
    if numbers is None:
        raise BadInputError(f"screen:{which}: give a monitor's number, or x,y,width,height")
    left, top, width, height = map(int, numbers.groups())
    inside = left >= whole["left"] and top >= whole["top"]
    inside &= left + width <= whole["left"] + whole["width"] and top + height <= whole["top"] + whole["height"]
    if not inside or not width or not height:
        place = f"{whole['left']},{whole['top']},{whole['width']},{whole['height']}"
        raise BadInputError(f"screen:{which}: does not lie on the screen, which is {place}")
    return {"left": left, "top": top, "width": width, "height": height}
