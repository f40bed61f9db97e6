"""Arrays as a source."""

from collections.abc import Iterator

import numpy as np
import pytest

from millstream.errors import BadInputError
from millstream.media.sources import open_source
from tests.media_files import (
    assert_one_line,
    frames_of,
    quadrants,
)


def test_arrays_of_every_kind():
    rgb = quadrants()
    grey = np.full((4, 4), 0.5)
    clear = np.dstack([rgb, np.zeros((64, 96), np.uint8)])
    frames = frames_of([rgb, rgb / 255, (rgb / 255).astype(np.float32), grey, clear])
    for frame in frames[:3]:
        np.testing.assert_array_equal(frame.pixels, rgb)
    assert (frames[3].pixels == 128).all() and frames[3].pixels.shape == (4, 4, 3)
    assert (frames[4].pixels == 255).all()
    assert [f.time for f in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert all(f.pixels.dtype == np.uint8 and f.pixels.flags.c_contiguous for f in frames)


def test_an_array_used_again_by_its_maker_does_no_harm():
    def camera() -> Iterator[np.ndarray]:
        buffer = np.empty((8, 8, 3), np.uint8)
        for level in range(3):
            buffer[:] = level
            yield buffer

    source = open_source(camera())
    assert source.info.frames is None
    assert [int(f.pixels[0, 0, 0]) for f in list(source)] == [0, 1, 2]


def test_a_stack_is_several_pictures():
    source = open_source(np.zeros((5, 6, 7, 3), np.uint8))
    assert (source.info.width, source.info.height, source.info.frames) == (7, 6, 5)
    assert len(list(source)) == 5


@pytest.mark.parametrize(
    "pictures",
    [
        [],
        np.zeros((8, 8, 3), np.uint8),
        [np.zeros((8, 8, 2), np.uint8)],
        [np.zeros((3, 8, 8, 3), np.uint8)],
        [np.zeros((8, 8, 3), np.int64)],
        [np.full((8, 8, 3), 1.5)],
        [np.full((8, 8, 3), -0.1)],
        [np.full((8, 8, 3), np.nan)],
        [np.zeros((0, 8, 3), np.uint8)],
        ["picture.png"],
    ],
)
def test_arrays_that_are_no_pictures(pictures):
    with pytest.raises(BadInputError) as error:
        frames_of(pictures)
    assert_one_line(error)
