from itertools import pairwise

import numpy as np
import pytest

from millstream.media.demo import draw
from millstream.media.sources import open_source


def test_it_is_six_seconds_that_move():
    source = open_source("demo")
    frames = list(source)
    assert (source.info.width, source.info.height, source.info.rate) == (256, 256, 15)
    assert len(frames) == source.info.frames == 90
    assert [f.id for f in frames] == list(range(90))
    assert [f.time for f in frames] == [i / 15 for i in range(90)]
    assert source.info.duration == 6
    changes = [np.abs(b.pixels.astype(int) - a.pixels).mean() for a, b in pairwise(frames)]
    assert min(changes) > 0.2


def test_it_is_the_same_at_every_run():
    np.testing.assert_array_equal(draw(0.3, 256, 256), draw(0.3, 256, 256))


@pytest.mark.parametrize(("width", "height"), [(256, 256), (320, 192), (65, 47)])
def test_any_size(width, height):
    pixels = draw(0.5, width, height)
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8


def test_the_sun_crosses_the_sky_and_the_ball_rolls():
    morning, noon = draw(0.1, 256, 256).astype(int), draw(0.5, 256, 256).astype(int)
    assert noon[50, 128].tolist() == pytest.approx([255, 232, 120], abs=3)  # sin(90 degrees): the sun at its highest
    assert morning[50, 128, 2] > morning[50, 128, 0]  # the same place is blue sky earlier
    assert noon[100, 30, 2] > noon[230, 30, 2]  # sky above, meadow below
    red = (noon[..., 0] > 200) & (noon[..., 1] < 90)
    assert abs(np.argwhere(red)[:, 1].mean() - 128) < 2
