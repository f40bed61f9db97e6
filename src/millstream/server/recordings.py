"""Files made from results: recordings, written in a thread of their own, and snapshots. The server makes the names."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from queue import Full, Queue
from secrets import token_hex
from threading import Thread
from time import monotonic
from typing import Literal

from millstream.errors import BadInputError, MillstreamError, OutputError
from millstream.frame import Frame
from millstream.media.base import SourceInfo
from millstream.media.fit import fit_frame
from millstream.media.sinks import open_sink

Kind = Literal["recording", "snapshot"]
SUFFIXES: dict[Kind, str] = {"recording": ".mp4", "snapshot": ".png"}
NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}\.(mp4|png)", re.ASCII)
WAITING = 16  # pictures that wait for the disk; one more is left out
RATE = Fraction(30)
LEAST = 1e-3  # seconds between two pictures of a recording
RESERVE = 256 * 2**20  # bytes of the disk that are left free


@dataclass(frozen=True)
class Kept:
    """A finished file."""

    kind: Kind
    name: str
    bytes: int
    seconds: float | None = None


class Shelf:
    """The folder of one kind of file."""

    def __init__(self, kind: Kind, folder: Path, most: int) -> None:
        """`most` is how many bytes it may hold."""
        self.kind, self.folder, self.most = kind, folder / f"{kind}s", most

    def new(self) -> Path:
        """A path for a new file. Raises OutputError where there is no room."""
        self.folder.mkdir(parents=True, exist_ok=True)
        held = sum(path.stat().st_size for path in self.folder.iterdir())
        if held >= self.most or shutil.disk_usage(self.folder).free < RESERVE:
            raise OutputError(f"no room for another {self.kind}; remove some from {self.folder}")
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        return self.folder / f"{stamp}-{token_hex(4)}{SUFFIXES[self.kind]}"

    def find(self, name: str) -> Path:
        """The path of a file that is there. Raises BadInputError."""
        path = self.folder / name
        if not NAME.fullmatch(name) or not path.is_file():
            raise BadInputError(f"there is no {self.kind} of that name; see the list")
        return path

    def files(self) -> list[Kept]:
        """What is there, newest first."""
        found = sorted(self.folder.glob("*"), reverse=True) if self.folder.is_dir() else []
        return [Kept(self.kind, path.name, path.stat().st_size) for path in found if NAME.fullmatch(path.name)]


def snapshot(shelf: Shelf, frame: Frame) -> Kept:
    """Write a picture as PNG. Raises OutputError."""
    path = shelf.new()
    with open_sink(path, SourceInfo(frame.pixels.shape[1], frame.pixels.shape[0])) as sink:
        sink.write(frame)
    return Kept("snapshot", path.name, path.stat().st_size)


class Recording:
    """Writes results to an MP4 at the times of their capture; what the disk cannot follow is left out."""

    def __init__(
        self, shelf: Shelf, path: Path, seconds: float, done: Callable[[Kept | MillstreamError], None]
    ) -> None:
        """`path` is a new one of the shelf's, `seconds` the longest it runs.

        `done` is told, in the writing thread, what it has become.
        """
        self._shelf, self._path, self._seconds, self._done = shelf, path, seconds, done
        self._queue: Queue[tuple[Frame, float] | None] = Queue(WAITING)
        self._stopping = False
        self._begun: float | None = None
        self._id: int | None = None
        self._last = self._lag = 0.0
        self.left_out = 0
        self._thread = Thread(target=self._work, name="millstream-recording", daemon=True)
        self._thread.start()

    def put(self, frame: Frame) -> None:
        """Leave a result. Never waits."""
        try:
            self._queue.put_nowait((frame, monotonic()))
        except Full:
            self.left_out += 1

    def stop(self) -> None:
        """Complete the file; `done` follows. Never waits."""
        self._stopping = True
        try:
            self._queue.put_nowait(None)
        except Full:
            return  # the thread sees that it is to stop when it has written what waits

    def join(self, timeout: float) -> None:
        """Wait until the file is complete."""
        self._thread.join(timeout)

    def _work(self) -> None:
        try:
            self._done(self._write())
        except MillstreamError as error:
            self._done(error)

    def _write(self) -> Kept:
        item = self._queue.get()
        if item is None:
            raise OutputError("no picture came while it recorded, so nothing is written")
        height, width = item[0].pixels.shape[:2]
        with open_sink(self._path, SourceInfo(width, height, RATE)) as sink:
            while item is not None and not self._over():
                timed = self._timed(fit_frame(item[0], (width, height)), item[1])
                if timed is not None:
                    sink.write(timed)
                item = None if self._stopping and self._queue.empty() else self._queue.get()
        return Kept("recording", self._path.name, self._path.stat().st_size, round(self._last, 3))

    def _timed(self, frame: Frame, came: float) -> Frame | None:
        """The frame at its time in the recording; None where it is no later than the one before.

        One that was sent again, because its source has stalled, has the time at which its result came.
        """
        if self._begun is None:
            self._begun = frame.time
        elif frame.id == self._id:
            frame = replace(frame, time=came - self._lag)
        if frame.time - self._begun < self._last + LEAST and self._id is not None:
            return None
        self._id, self._lag, self._last = frame.id, came - frame.time, frame.time - self._begun
        return replace(frame, time=self._last)

    def _over(self) -> bool:
        return self._last >= self._seconds or shutil.disk_usage(self._path.parent).free < RESERVE
