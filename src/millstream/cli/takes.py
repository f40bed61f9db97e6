"""Snapshots and recordings of a show, under numbered names in the current folder."""

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from threading import Lock

from millstream.errors import MillstreamError
from millstream.frame import Frame
from millstream.media.base import SourceInfo
from millstream.media.recording import Recording
from millstream.media.sinks import open_sink


class Takes:
    """Takes of the pictures that are `put`; what becomes of them is told by `tell`, in one line. For any thread."""

    def __init__(self, like: SourceInfo, tell: Callable[[str], None]) -> None:
        self._like = SourceInfo(like.width, like.height, like.rate)  # without its sound
        self._tell = tell
        self._newest: Frame | None = None
        self._recording: Recording | None = None
        self._files, self._path = ExitStack(), Path()
        self._lock = Lock()

    def put(self, frame: Frame) -> None:
        """The picture that is shown from now on."""
        with self._lock:
            self._newest = frame
            self._try(self._continue)

    def snapshot(self, frame: Frame) -> None:
        """Save a picture."""
        with self._lock:
            self._try(lambda: self._save(frame))

    def record(self) -> None:
        """Begin a recording, with the newest picture, or end the one under way."""
        with self._lock:
            self._try(self._end if self._recording else self._begin)

    def close(self) -> None:
        """End a recording."""
        with self._lock:
            self._try(self._end)

    def _save(self, frame: Frame) -> None:
        path = free_name(".png")
        with open_sink(path, self._like) as sink:
            sink.write(frame)
        self._tell(f"saved {path}")

    def _begin(self) -> None:
        if self._newest is None:
            return
        path = free_name(".mp4")
        with ExitStack() as opening:
            recording = opening.enter_context(Recording(open_sink(path, self._like), path))
            recording.write(self._newest)
            self._files = opening.pop_all()
        self._recording = recording
        self._tell(f"recording {path}; R ends it")
        self._path = path

    def _continue(self) -> None:
        if self._recording is None or self._newest is None:
            return
        try:
            self._recording.write(self._newest)
        except MillstreamError:
            self._recording = None
            self._files.close()
            raise

    def _end(self) -> None:
        if self._recording is not None:
            self._recording = None
            self._files.close()
            self._tell(f"recorded {self._path}")

    def _try(self, act: Callable[[], None]) -> None:
        """Tell what goes wrong: the show goes on."""
        try:
            act()
        except MillstreamError as error:
            self._tell(str(error))


def free_name(suffix: str) -> Path:
    """The first numbered name that is free: millstream-001.png and so on."""
    return next(path for path in (Path(f"millstream-{n:03}{suffix}") for n in count(1)) if not path.exists())
