import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.media.fit import fit, matching_size
from tests.media_files import corners, quadrants


def test_the_right_size_is_the_same_object():
    pixels = quadrants()
    assert fit(pixels, 96, 64) is pixels


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((97, 65), (64, 64)),
        ((33, 201), (64, 48)),
        ((640, 272), (7, 5)),
        ((1, 1), (16, 24)),
        ((50, 50), (51, 49)),
        ((1921, 1081), (64, 32)),
    ],
)
def test_any_size_is_met_and_the_centre_kept(source, target):
    pixels = fit(quadrants(*source), *target)
    assert pixels.shape == (target[1], target[0], 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (123, 123)])
def test_quadrants_stay_where_they_are(size):
    np.testing.assert_allclose(corners(fit(quadrants(*size), 64, 64)), corners(quadrants()), atol=1)


def test_what_is_cut_off_is_the_same_on_both_sides():
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, :20], pixels[:, 40:] = 255, 255
    assert fit(pixels, 20, 20).max() == 0


def test_fine_stripes_become_grey():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = fit(stripes, 32, 32)[4:-4, 4:-4]
    assert np.abs(inner.astype(int) - 127).max() <= 2


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ((512, 512, 256 * 256, 8), (256, 256)),
        ((1280, 720, 256 * 256, 8), (344, 192)),
        ((720, 1280, 256 * 256, 8), (192, 344)),
        ((640, 272, 256 * 256, 64), (448, 192)),
        ((100, 100, 250 * 250, 64), (256, 256)),
        ((10_000, 10, 256 * 256, 64), (1024, 64)),
        ((100, 100, 10, 64), (64, 64)),
    ],
)
def test_matching_size(asked, size):
    assert matching_size(*asked) == size


side = st.integers(1, 5000)


@given(side, side, st.integers(1, 2**22), st.sampled_from([1, 8, 16, 64]))
def test_matching_size_is_bounded(width, height, area, multiple):
    w, h = matching_size(width, height, area, multiple)
    assert w % multiple == 0 and h % multiple == 0 and min(w, h) >= multiple
    assert (w - multiple) * (h - multiple) <= area
    assert (w + multiple) * (h + multiple) >= area
