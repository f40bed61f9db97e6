"""Live pictures into a video file or a pipe, at the times when they happened."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from time import monotonic
from types import TracebackType
from typing import BinaryIO, Self

import av
from av.video.stream import VideoStream

from millstream.errors import OutputError
from millstream.frame import Frame
from millstream.media.base import Sink
from millstream.media.fit import fit_frame
from millstream.media.room import LOOK, RESERVE, scarce
from millstream.media.status import Acts, Status

_GAP = 0.002  # seconds; the coarsest container that is written keeps times to 1 ms
_TICK = Fraction(1, 90_000)


class ReaderGoneError(OutputError):
    """Whoever read the pictures from the pipe has left."""

    exit_code = 141  # 128 + SIGPIPE, as a shell reports it


class FullError(OutputError):
    """A disk has no room for more; what was recorded until then is complete."""


class Recording(Sink):
    """Writes live pictures to `sink`: from time 0, each later than the one before, all of the first one's size.

    A picture lies at its capture time, so that movement is as it was; one that was made again from an old capture
    (a changed prompt over a stalled source) lies where it came out.

    A `file` ends while its disk has room to complete it, so that nothing is lost: then this raises FullError.
    """

    def __init__(self, sink: Sink, file: Path | None = None) -> None:
        self._sink, self._file = sink, file
        self._looked = 0.0
        self._size: tuple[int, int] | None = None
        self._begin = self._captured = self._written = 0.0

    def __enter__(self) -> Self:
        self._look()
        self._sink.__enter__()
        return self

    def write(self, frame: Frame) -> None:
        """Take the next picture; `frame.time` is of `time.monotonic()`."""
        if monotonic() - self._looked > LOOK:
            self._look()
        if self._size is None:
            rows, columns = frame.pixels.shape[:2]
            self._size, self._begin, time = (columns, rows), frame.time, 0.0
        else:
            moment = frame.time if frame.time > self._captured else monotonic()
            time = max(moment - self._begin, self._written + _GAP)
        self._captured, self._written = frame.time, time
        self._sink.write(replace(fit_frame(frame, self._size), time=time))

    def run(self, pictures: Iterable[Frame], status: Callable[[float], Status], stop: Event, acts: Acts) -> None:
        """Write `pictures` until they end; a file has no place for the status, and no keys."""
        for frame in pictures:
            self.write(frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, FullError):
            kind = error = trace = None  # it ends early, and well
        self._sink.__exit__(kind, error, trace)

    def _look(self) -> None:
        self._looked = monotonic()
        try:
            full = self._file is not None and scarce(self._file.parent)
        except OSError:
            return  # of a folder that is not there; the sink says it better
        if full:
            left = f"less than {RESERVE // 2**20} MiB are free on its disk"
            raise FullError(f"{self._file}: {left}, so the recording ends here; free some space")


class PipeSink(Sink):
    """Pictures to stdout as NUT: raw RGB with time stamps, exact and without an encoder's delay.

    `ffplay -`, `mpv -`, `ffmpeg -i -` and PyAV read it. The size is the first picture's. Raises ReaderGoneError when
    the pipe is closed at its other end, and OutputError when there is none.
    """

    def __init__(self) -> None:
        if sys.stdout.isatty():
            raise OutputError("-: writes video, and stdout is a terminal; for example `millstream live ... | ffplay -`")
        self._pipe: BinaryIO = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        self._container = av.open(self._pipe, "w", format="nut")
        self._stream: VideoStream | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, frame: Frame) -> None:
        """Send a picture; `frame.time` is in seconds from the first one."""
        picture = av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")
        picture.time_base, picture.pts = _TICK, round(Fraction(frame.time) / _TICK)
        with _reader_watched():
            stream = self._stream = self._stream or self._start(picture)
            self._container.mux(stream.encode(picture))
            self._pipe.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for opened in (self._container, self._pipe):
            with suppress(OSError, av.FFmpegError):  # of a reader that has gone; every picture went out at once
                opened.close()

    def _start(self, picture: av.VideoFrame) -> VideoStream:
        stream = self._container.add_stream("rawvideo")
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "rgb24"
        stream.codec_context.time_base = _TICK
        return stream


@contextmanager
def _reader_watched() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGoneError("-: whoever read the pictures has gone; the stream has ended") from None
    except OSError as error:
        raise OutputError(f"-: {error.strerror}; free some space or write to another place") from None
