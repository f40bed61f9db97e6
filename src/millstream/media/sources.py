"""Where frames come from: one function for every kind."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from millstream.errors import BadInputError
from millstream.media.arrays import ArraySource
from millstream.media.base import Source, SourceInfo
from millstream.media.decode import VideoSource
from millstream.media.demo import DemoSource
from millstream.media.pictures import FolderSource, PictureSource, is_picture

__all__ = ["Source", "SourceInfo", "open_source"]

DEMO = "demo"


def open_source(spec: str | Path | Iterable[np.ndarray]) -> Source:
    """Open a video, an animation, a picture, a folder of pictures, any iterable of arrays, or the word `demo`.

    Arrays are uint8 or float 0..1 of shape (h, w, 3), (h, w) or (h, w, 4). A file is known by its content, not its
    name. Raises BadInputError when it is missing, empty, or none of these.
    """
    if not isinstance(spec, str | Path):
        return ArraySource(spec)
    return DemoSource() if spec == DEMO else _open_path(Path(spec))


def _open_path(path: Path) -> Source:
    try:
        if path.is_dir():
            return FolderSource(path)
        _check_file(path)
        return PictureSource(path) if is_picture(path) else VideoSource(path)
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}; check its permissions") from None


def _check_file(path: Path) -> None:
    if not path.exists():
        raise BadInputError(f"{path}: no such file; give the path of a video, a picture or a folder, or `{DEMO}`")
    if not path.is_file():
        raise BadInputError(f"{path}: not a file; give the path of a video, a picture or a folder, or `{DEMO}`")
    if path.stat().st_size == 0:
        raise BadInputError(f"{path}: the file is empty; copy it again")
