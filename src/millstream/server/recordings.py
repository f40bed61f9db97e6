"""Files made from results: recordings, written in a thread of their own, and snapshots. The server makes the names."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from queue import Full, Queue
from secrets import token_hex
from threading import Thread
from time import monotonic, time
from typing import Literal

from millstream.errors import BadInputError, MillstreamError, OutputError
from millstream.frame import Frame
from millstream.media.base import SourceInfo
from millstream.media.fit import fit_frame
from millstream.media.room import LOOK, scarce
from millstream.media.sinks import open_sink
from millstream.server.refused import RefusedError

Kind = Literal["recording", "snapshot"]
SUFFIXES: dict[Kind, str] = {"recording": ".mp4", "snapshot": ".png"}
NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}\.(mp4|png)", re.ASCII)
WAITING = 16  # pictures that wait for the disk; one more is left out
RATE = Fraction(30)
LEAST = 1e-3  # seconds between two pictures of a recording
STALE = 900.0  # seconds without a write, longer than any recording waits, after which half a file is nobody's


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
        """`most` is how many bytes it may hold. What was left half-written is removed."""
        self.kind, self.folder, self.most = kind, folder / f"{kind}s", most
        self._remove_stale()

    def new(self) -> Path:
        """A path for a new file. Raises OutputError where there is no room, or no folder can be made."""
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.full:
                raise OutputError(f"no room for another {self.kind}; remove some from {self.folder}")
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        return self.folder / f"{stamp}-{token_hex(4)}{SUFFIXES[self.kind]}"

    @property
    def full(self) -> bool:
        """Whether it holds as much as it may, what is being written with it, or the disk does. Raises OSError."""
        held = sum(size for _, size in self._sizes())
        return held >= self.most or scarce(self.folder)

    def find(self, name: str) -> Path:
        """The path of a file that is there. Raises BadInputError."""
        path = self.folder / name
        if not NAME.fullmatch(name) or not path.is_file():
            raise BadInputError(f"there is no {self.kind} of that name; see the list")
        return path

    def files(self) -> list[Kept]:
        """What is there, newest first. Raises OutputError where the folder cannot be read."""
        with explained(self.folder):
            found = [Kept(self.kind, path.name, size) for path, size in self._sizes() if NAME.fullmatch(path.name)]
        return sorted(found, key=lambda kept: kept.name, reverse=True)

    def _sizes(self) -> Iterator[tuple[Path, int]]:
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            with suppress(FileNotFoundError):  # it was renamed or removed a moment ago
                yield path, path.stat().st_size

    def _remove_stale(self) -> None:
        """Remove what a server that was killed left half-written; what another one writes to is younger."""
        for path in self.folder.glob(".*") if self.folder.is_dir() else ():
            with suppress(OSError):  # it still counts
                if time() - path.stat().st_mtime > STALE:
                    path.unlink()


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """Raise OutputError in place of an OSError, which says what cannot be written where."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{place}: {error.strerror or error}; free some space, or give another folder with --data"
        ) from None


def snapshot(shelf: Shelf, frame: Frame) -> Kept:
    """Write a picture as PNG. Raises OutputError."""
    path = shelf.new()
    with open_sink(path, SourceInfo(frame.pixels.shape[1], frame.pixels.shape[0])) as sink:
        sink.write(frame)
    with explained(path):
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
        self._looked = -LOOK
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
        self._done(self._become())

    def _become(self) -> Kept | MillstreamError:
        try:
            with explained(self._path):
                return self._write()
        except MillstreamError as error:
            return error
        except Exception as error:
            logging.getLogger(__name__).exception("a recording has ended by a fault")
            return RefusedError(500, f"{self._path}: {error}; see the server's log")

    def _write(self) -> Kept:
        item = self._queue.get()
        if item is None:
            raise RefusedError(409, "no picture came while it recorded, so nothing is written")
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
        """Whether it is long enough, or the shelf is full; which is looked at now and then."""
        if self._last < self._seconds and monotonic() - self._looked > LOOK:
            self._looked = monotonic()
            return self._shelf.full
        return self._last >= self._seconds
