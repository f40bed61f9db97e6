"""A file in its own time. Lower bounds alone: how late a picture may be is the machine's matter."""

from itertools import islice
from threading import Thread
from time import monotonic

import numpy as np
import pytest

from millstream.frame import Frame
from millstream.media.base import Source, SourceInfo
from millstream.media.paced import PacedSource
from millstream.media.sources import open_source

TIMES = (0.0, 0.01, 0.05, 0.06)
EARLY = 0.001  # seconds that a clock may be off


class Clip(Source):
    """Pictures at given times; each is filled with its index."""

    def __init__(self, times=TIMES, duration=None):
        self._times = times
        self.info = SourceInfo(4, 4, frames=len(times), duration=duration)
        self.closed = 0

    def __iter__(self):
        for i, time in enumerate(self._times):
            yield Frame(i, np.full((4, 4, 3), i, np.uint8), time)

    def close(self):
        self.closed += 1


def test_no_picture_comes_before_its_time():
    begun = monotonic()
    frames = list(PacedSource(Clip(), loop=False))
    ended = monotonic()
    assert [frame.id for frame in frames] == [0, 1, 2, 3]
    for frame, time in zip(frames, TIMES, strict=True):
        assert begun + time - EARLY <= frame.time <= ended
    assert ended - begun >= TIMES[-1] + 1 / 25 - EARLY  # the last one stays for its time


@pytest.mark.parametrize("duration", [None, 0.2])
def test_it_begins_again_with_numbers_that_go_on(duration):
    source = PacedSource(Clip(duration=duration))
    frames = list(islice(source, 10))
    assert [frame.id for frame in frames] == list(range(10))
    assert [frame.pixels[0, 0, 0] for frame in frames] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    length = duration or TIMES[-1] + 1 / 25
    assert frames[8].time - frames[0].time >= 2 * length - 0.05


def test_closing_ends_a_long_wait():
    clip = Clip((0.0, 1000.0))
    source = PacedSource(clip)
    given = []
    reader = Thread(target=lambda: given.extend(source))
    reader.start()
    source.close()
    reader.join(30)
    assert not reader.is_alive()
    assert clip.closed == 1


def test_the_demo_goes_on():
    source = PacedSource(open_source("demo"))
    assert (source.info.width, source.info.height) == (256, 256)
    assert [frame.id for frame in islice(source, 2)] == [0, 1]
