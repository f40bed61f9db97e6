"""Where frames go: one function for every kind, and the promise that nothing half-written stays."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from uuid import uuid4

import av
from PIL import Image

from millstream.errors import OutputError
from millstream.frame import Frame
from millstream.media.base import Sink, SourceInfo
from millstream.media.encode import VIDEO_SUFFIXES, VideoWriter

__all__ = ["PICTURE_SUFFIXES", "VIDEO_SUFFIXES", "Sink", "open_sink"]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_QUALITY = 95


def open_sink(path: str | Path, like: SourceInfo) -> Sink:
    """Choose how to write by the suffix; frame rate, length and audio are taken from `like`.

    A name without a suffix, or with a slash at its end, is a folder of numbered PNG files. Raises OutputError when the
    suffix is unknown.
    """
    target, suffix = Path(path), Path(path).suffix.lower()
    if str(path).endswith(("/", os.sep)) or not suffix or target.is_dir():
        return _FileSink(target, _FolderWriter)
    if suffix in PICTURE_SUFFIXES:
        return _FileSink(target, _PictureWriter)
    if suffix in VIDEO_SUFFIXES:
        return _FileSink(target, lambda part: VideoWriter(part, like))
    known = " ".join(VIDEO_SUFFIXES + PICTURE_SUFFIXES)
    raise OutputError(f"{path}: unknown suffix {suffix}; use one of {known}, or a folder's name and a slash")


class _Writer(Protocol):
    def write(self, frame: Frame) -> None: ...

    def finish(self, interrupted: bool) -> None: ...

    def abandon(self) -> None: ...


class _FileSink(Sink):
    """Writes under another name beside the target, and moves the whole into place at the end."""

    def __init__(self, path: Path, open_writer: Callable[[Path], _Writer]) -> None:
        self._path = path
        self._part = path.with_name(f".{path.stem}-{uuid4().hex[:8]}{path.suffix}")
        self._open_writer = open_writer
        self._count = 0

    def __enter__(self) -> Self:
        with self._explained():
            _check_target(self._path)
            self._writer = self._open_writer(self._part)
        return self

    def write(self, frame: Frame) -> None:
        with self._explained():
            self._writer.write(frame)
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt | GeneratorExit)
        try:
            if self._count and (kind is None or interrupted):
                self._place(interrupted)
            elif kind is None:
                raise OutputError(f"{self._path}: no picture came, so nothing is written; check the input")
        finally:
            self._writer.abandon()
            _remove(self._part)

    def _place(self, interrupted: bool) -> None:
        with self._explained():
            self._writer.finish(interrupted)
            if self._path.is_dir():
                self._path.rmdir()  # empty, as entering has checked; some systems replace only what is not there
            self._part.replace(self._path)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            reason = error.strerror or error
            raise OutputError(f"{self._path}: {reason}; free some space or write to another place") from None


class _PictureWriter:
    """One picture, of the kind that the suffix names."""

    def __init__(self, part: Path) -> None:
        self._part = part
        part.touch()
        self._written = False

    def write(self, frame: Frame) -> None:
        if self._written:
            raise OutputError(f"a {self._part.suffix} holds one picture; write to a folder, a .gif or a video instead")
        Image.fromarray(frame.pixels).save(self._part, quality=_QUALITY)
        self._written = True

    def finish(self, interrupted: bool) -> None:
        """The picture is complete when it is written."""

    def abandon(self) -> None:
        """Nothing is held open."""


class _FolderWriter:
    """Numbered PNG files: 000000.png, 000001.png, ..."""

    def __init__(self, part: Path) -> None:
        self._part = part
        part.mkdir()
        self._count = 0

    def write(self, frame: Frame) -> None:
        Image.fromarray(frame.pixels).save(self._part / f"{self._count:06d}.png")
        self._count += 1

    def finish(self, interrupted: bool) -> None:
        """Every picture is complete when it is written."""

    def abandon(self) -> None:
        """Nothing is held open."""


def _check_target(path: Path) -> None:
    if path.is_dir() and any(path.iterdir()):
        raise OutputError(f"{path}: the folder is not empty; empty it or name a new one")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first")


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)
