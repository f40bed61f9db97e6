"""Any iterable of arrays as a source."""

from collections.abc import Iterable, Iterator, Sized
from itertools import chain
from typing import Any

import numpy as np

from millstream.errors import BadInputError
from millstream.frame import Frame, Pixels
from millstream.media.base import DEFAULT_RATE, Source, SourceInfo, check_size
from millstream.media.colour import over_white

_KINDS = "uint8 (0 to 255) or float (0 to 1) of shape (h, w, 3), (h, w) grey or (h, w, 4) with alpha"


class ArraySource(Source):
    """The pictures of an iterable, timed at 25 a second. It is read once, one ahead for the size."""

    def __init__(self, pictures: Iterable[np.ndarray]) -> None:
        if isinstance(pictures, np.ndarray) and pictures.ndim != 4:
            raise BadInputError("pictures: a single array; put it into a list, or stack pictures to (n, h, w, 3)")
        frames = len(pictures) if isinstance(pictures, Sized) else None
        self._pictures = _converted(pictures)
        first = next(self._pictures, None)
        if first is None:
            raise BadInputError("pictures: the iterable is empty; give at least one array")
        self._pictures = chain([first], self._pictures)
        self.info = SourceInfo(first.shape[1], first.shape[0], frames=frames)

    def __iter__(self) -> Iterator[Frame]:
        for i, pixels in enumerate(self._pictures):
            yield Frame(i, pixels, float(i / DEFAULT_RATE))


def rgb_of_array(array: Any, name: str = "picture") -> Pixels:
    """Copy a picture to RGB uint8 of shape (h, w, 3).

    Takes uint8 of 0 to 255 or float of 0 to 1, shaped (h, w, 3), (h, w) for grey, or (h, w, 4) with alpha, which is
    laid over white. Raises BadInputError for anything else.
    """
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,), (4,)):
        raise BadInputError(f"{name}: {_kind(array)} is no picture; give numpy arrays, {_KINDS}")
    check_size(array.shape[1], array.shape[0], name)
    levels = _levels(array, name)
    if levels.ndim == 2:
        return np.repeat(levels[..., None], 3, axis=2)
    # A copy, because a camera's loop may use its array again while the frame waits in a queue.
    return over_white(levels) if levels.shape[2] == 4 else np.array(levels, order="C")


def _converted(pictures: Iterable[Any]) -> Iterator[Pixels]:
    for i, picture in enumerate(pictures):
        yield rgb_of_array(picture, f"picture {i}")


def _levels(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise BadInputError(f"{name}: numbers of type {array.dtype}; give {_KINDS}")
    if not (array.min() >= 0 and array.max() <= 1):  # also refuses NaN
        raise BadInputError(f"{name}: floats outside 0..1 or not numbers; clip or scale them, or give uint8")
    levels: np.ndarray = np.rint(array * 255).astype(np.uint8)
    return levels


def _kind(value: Any) -> str:
    return f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
