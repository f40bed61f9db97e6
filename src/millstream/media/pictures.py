"""Pictures as sources: a still, an animation (GIF, APNG, WebP), a folder."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from millstream.errors import BadInputError
from millstream.frame import Frame, Pixels
from millstream.media.base import DEFAULT_RATE, Source, SourceInfo, check_size
from millstream.media.colour import over_white

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm", ".pgm")

# Named, because Pillow would take the first bytes of an MPEG file for a picture.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
_ANIMATED = ("GIF", "PNG", "WEBP")
_TURNED = range(5, 9)  # EXIF orientations that swap width and height
_ORIENTATION = 0x0112


def is_picture(path: Path) -> bool:
    """Whether the file begins as a picture, whatever its name."""
    try:
        with _opened(path):
            return True
    except UnidentifiedImageError:
        return False
    except Image.DecompressionBombError:
        return True


class PictureSource(Source):
    """A still as one frame, or an animation with the times that its durations give.

    A frame of 10 ms or less is shown for 100 ms, as browsers do. Of other files with several pictures, the first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._durations = _durations(path)
        width, height = shown_size(path)
        total, frames = sum(self._durations, Fraction(0)), len(self._durations)
        self.info = SourceInfo(width, height, frames / total if total else None, frames, duration=total or None)

    def __iter__(self) -> Iterator[Frame]:
        time = Fraction(0)
        with _readable(self._path), _opened(self._path) as image:
            for i, duration in enumerate(self._durations):
                image.seek(i)
                yield Frame(i, _rgb(image, self._path), float(time))
                time += duration


class FolderSource(Source):
    """The pictures of a folder in natural order (2 before 10), each of its own size, timed at 25 a second."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted((p for p in folder.iterdir() if _is_listed(p)), key=_natural)
        if not self._paths:
            raise BadInputError(f"{folder}: no pictures in it; known are {', '.join(PICTURE_SUFFIXES)}")
        width, height = shown_size(self._paths[0])
        self.info = SourceInfo(width, height, frames=len(self._paths))

    def __iter__(self) -> Iterator[Frame]:
        for i, path in enumerate(self._paths):
            yield Frame(i, load_picture(path), float(i / DEFAULT_RATE))


def load_picture(path: Path) -> Pixels:
    """Read one picture upright, alpha over white, 16 bit as 8. Raises BadInputError."""
    with _readable(path), _opened(path) as image:
        return _rgb(image, path)


def shown_size(path: Path) -> tuple[int, int]:
    """Read (width, height) as shown, from the header alone. Raises BadInputError when too large."""
    with _readable(path), _opened(path) as image:
        check_size(*image.size, path)
        width, height = image.size
        return (height, width) if image.getexif().get(_ORIENTATION) in _TURNED else (width, height)


def _durations(path: Path) -> list[Fraction]:
    """Give the seconds of every frame, a single 0 for a still."""
    with _readable(path), _opened(path) as image:
        check_size(*image.size, path)
        frames = getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1
        return [_duration(image, i) for i in range(frames)] if frames > 1 else [Fraction(0)]


def _duration(image: Image.Image, index: int) -> Fraction:
    image.seek(index)
    image.load()  # WebP knows a frame's duration only then
    milliseconds = round(image.info.get("duration", 0))
    return Fraction(milliseconds if milliseconds > 10 else 100, 1000)


def _rgb(image: Image.Image, path: Path) -> Pixels:
    check_size(*image.size, path)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        return _from_16_bit(upright)
    if upright.mode == "F":
        raise BadInputError(f"{path}: a picture of floating-point numbers; save it as 8 or 16 bit")
    if upright.has_transparency_data:
        return over_white(np.array(upright.convert("RGBA")))
    return np.array(upright.convert("RGB"))


def _from_16_bit(image: Image.Image) -> Pixels:
    """Scale grey 0..65535 to 0..255: Pillow's own conversion would cut off all above 255."""
    grey = np.clip(np.rint(np.asarray(image, np.float64) / 257), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _opened(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        # The project's own limit stands in for Pillow's warning; Pillow's hard limit stays.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=_FORMATS)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except Image.DecompressionBombError:
        raise BadInputError(f"{path}: the picture is too large; make it smaller") from None
    except (OSError, SyntaxError, EOFError, ValueError):
        raise BadInputError(f"{path}: damaged or not a picture; save it again, or take it out of the folder") from None


def _is_listed(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def _natural(path: Path) -> tuple[list[str | int], str]:
    # Splitting on digits makes texts and numbers alternate, so that like is compared with like.
    parts = re.split(r"([0-9]+)", path.name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name
