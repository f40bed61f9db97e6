"""Stills, animations and folders as sources."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from millstream.errors import BadInputError
from millstream.media.sources import open_source
from tests.media_files import (
    BLUE,
    COLOURS,
    GREEN,
    YELLOW,
    assert_one_line,
    assert_shows,
    corners,
    frames_of,
    moving,
    quadrants,
)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_still(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(quadrants(97, 65)).save(path, quality=95)
    source = open_source(str(path))
    (frame,) = source
    assert (source.info.width, source.info.height) == (97, 65)
    assert (source.info.rate, source.info.frames, frame.time) == (None, 1, 0)
    assert_shows(frame.pixels, COLOURS, 4)


ORIENTED = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: np.swapaxes(p, 0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(np.swapaxes(p, 0, 1), 2),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quadrants()).save(tmp_path / "a.png", exif=exif)
    source = open_source(tmp_path / "a.png")
    expected = ORIENTED[orientation](quadrants())
    assert (source.info.height, source.info.width) == expected.shape[:2]
    np.testing.assert_array_equal(next(iter(source)).pixels, expected)


def saved(folder, image, **options):
    image.save(folder / "a.png", **options)
    return frames_of(folder / "a.png")[0].pixels


def test_picture_kinds(tmp_path):
    grey = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    of_grey = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(saved(tmp_path, Image.fromarray(grey)), of_grey)
    np.testing.assert_array_equal(saved(tmp_path, Image.fromarray(grey.astype(np.uint16) * 257)), of_grey)

    clear = np.dstack([quadrants(), np.full((64, 96), 51, np.uint8)])
    assert_shows(saved(tmp_path, Image.fromarray(clear)), 255 + (COLOURS - 255) * 0.2, 1)

    palette = Image.fromarray(quadrants()).quantize(4)
    np.testing.assert_array_equal(saved(tmp_path, palette), quadrants())
    index = palette.getpixel((0, 0))
    assert_shows(saved(tmp_path, palette, transparency=index), [(255, 255, 255), GREEN, BLUE, YELLOW])


@pytest.mark.parametrize(("suffix", "tolerance"), [("gif", 2), ("png", 0), ("webp", 6)])
def test_animation_times(tmp_path, suffix, tolerance):
    path = tmp_path / f"a.{suffix}"
    pictures = [quadrants(), quadrants()[:, ::-1], quadrants()[::-1]]
    first, *rest = (Image.fromarray(np.ascontiguousarray(p)) for p in pictures)
    first.save(path, save_all=True, append_images=rest, duration=[40, 250, 100], loop=0)
    source = open_source(path)
    frames = list(source)
    assert [f.time for f in frames] == pytest.approx([0, 0.04, 0.29])
    assert (source.info.frames, source.info.duration) == (3, Fraction(39, 100))
    for frame, picture in zip(frames, pictures, strict=True):
        assert_shows(frame.pixels, corners(picture), tolerance)


def test_a_gif_without_durations_runs_as_in_browsers(tmp_path):
    first, second = (Image.fromarray(p) for p in moving(2))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second], duration=0)
    assert [f.time for f in frames_of(tmp_path / "a.gif")] == pytest.approx([0, 0.1])


def test_the_content_counts_not_the_name(tmp_path):
    Image.fromarray(quadrants()).save(tmp_path / "a.mp4", format="png")
    np.testing.assert_array_equal(frames_of(tmp_path / "a.mp4")[0].pixels, quadrants())


# --- folder


def test_folder_is_in_natural_order_with_sizes_as_they_are(tmp_path):
    sizes = {"img10.png": (20, 30), "img2.png": (10, 12), "IMG1.png": (8, 8), ".hidden.png": (4, 4)}
    for name, size in sizes.items():
        Image.new("RGB", size).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    source = open_source(tmp_path)
    assert [f.pixels.shape[1::-1] for f in source] == [(8, 8), (10, 12), (20, 30)]
    assert [f.time for f in source] == pytest.approx([0, 0.04, 0.08])
    assert (source.info.width, source.info.height, source.info.frames) == (8, 8, 3)


def test_a_damaged_picture_in_a_folder_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    reading = iter(open_source(tmp_path))
    assert next(reading).id == 0
    with pytest.raises(BadInputError, match=r"2\.png") as error:
        next(reading)
    assert_one_line(error)
