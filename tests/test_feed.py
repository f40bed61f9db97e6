from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.engine import Engine
from millstream.errors import MillstreamError, ModelError
from millstream.feed import Echoes, Feed, offline
from millstream.frame import Frame
from millstream.models import load_model
from millstream.params import ModelConfig, Params, StreamConfig
from tests import tiny, toy

SIZE = {"width": 32, "height": 32}


@pytest.fixture(scope="module")
def engine():
    return Engine(load_model(ModelConfig(name=str(tiny.small()))))


def feed(engine, params=None, late=False, **config):
    return Feed(engine, engine.open(StreamConfig(**SIZE, **config), params or Params()), late)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("frame_buffer", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_as_many_come_out_as_went_in(engine, steps, frame_buffer, count):
    source = [Frame(i, picture(i), i / 10) for i in range(count)]
    outputs = list(offline(feed(engine, steps=steps, frame_buffer=frame_buffer), source))
    assert [(o.id, o.time) for o in outputs] == [(f.id, f.time) for f in source]


def test_frames_come_out_as_soon_as_their_stages_allow(engine):
    stream = feed(engine, steps=3)
    assert [len(stream.take(Frame(i, picture(i)))) for i in range(5)] == [0, 0, 1, 1, 1]
    assert len(list(stream.drain())) == 2
    assert not stream.busy


@pytest.mark.parametrize("frame_buffer", [1, 2])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("filters", [False, True])
def test_a_late_feed_gives_the_same_frames(engine, steps, frame_buffer, count, filters):
    source = [Frame(i, picture(i // 3), i / 10) for i in range(count)]
    params = Params(similarity_filter=filters, seed=1)
    streams = [feed(engine, params, late, steps=steps, frame_buffer=frame_buffer) for late in (False, True)]
    at_once, late = ([(o.id, o.time, o.pixels.tobytes()) for o in offline(stream, source)] for stream in streams)
    assert at_once == late and len(late) == count
    assert not any(stream.busy for stream in streams)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_late_feed_has_begun_the_next_tick_when_it_gives_a_frame(engine, steps):
    stream, begun, begin = feed(engine, late=True, steps=steps), [], engine.begin
    engine.begin = lambda entering: (begun.append(entering), begin(entering))[1]
    try:
        given = [len(stream.take(Frame(i, picture(i)))) for i in range(5)]
        assert given == [0] * steps + [1] * (5 - steps)
        assert len(begun) == 5
        assert len(list(stream.drain())) == steps
        assert len(begun) == 5 + steps - 1  # the last tick of all is waited for, and none begun behind it
    finally:
        del engine.begin


@pytest.mark.parametrize("late", [False, True])
def test_a_late_feed_raises_what_a_tick_raised(late):
    engine = Engine(toy.ToyModel("broken", gain=float("nan")))
    session = engine.open(StreamConfig(width=toy.SIDE, height=toy.SIDE, steps=2, backend="eager"), Params())
    with pytest.raises(ModelError, match="NaN"):
        list(offline(Feed(engine, session, late), [toy.frame(i) for i in range(6)]))
    assert not Feed(engine, session).busy


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("frame_buffer", [1, 2])
def test_skipped_frames_repeat_what_was_last_processed(engine, steps, frame_buffer):
    still = picture(0)
    source = [Frame(i, still if i < 12 else picture(i)) for i in range(16)]
    filtered = Params(similarity_filter=True, max_skip=5, seed=1)
    stream = feed(engine, filtered, steps=steps, frame_buffer=frame_buffer)
    outputs = list(offline(stream, source))
    assert [o.id for o in outputs] == list(range(16))
    assert stream.skipped == 10  # of 12 alike the first and the seventh are processed; noise is never alike
    for output in outputs[:12]:
        assert np.array_equal(output.pixels, outputs[0].pixels)


def test_a_session_has_one_feed_at_a_time(engine):
    session = engine.open(StreamConfig(**SIZE, steps=3), Params())
    first = Feed(engine, session)
    first.take(Frame(0, picture(0)))
    with pytest.raises(MillstreamError, match="in use"):
        Feed(engine, session)
    first.close()
    assert not Feed(engine, session).busy


def test_a_change_of_parameters_passes_the_filter(engine):
    stream = feed(engine, Params(similarity_filter=True, max_skip=100), steps=1)
    still = Frame(0, picture(0))
    assert not stream.skips(still)
    assert stream.skips(still)
    stream._session.update({"prompt": "new"})
    assert not stream.skips(still)
    assert stream.skips(still)


def test_skips_do_not_freeze_what_is_in_flight(engine):
    stream = feed(engine, Params(similarity_filter=True, max_skip=100), steps=3)
    outputs = offline(stream, (Frame(i, picture(0)) for i in range(4)))
    seen = [next(outputs).id for _ in range(4)]
    assert seen == [0, 1, 2, 3]


@given(st.lists(st.booleans(), max_size=20), st.integers(0, 4))
def test_echoes_keep_order_and_count(skips, delay):
    """For any pattern of skips and any number of ticks in flight: all ids, in order, none before its original."""
    skips = [False, *skips]
    echoes, flight, shown = Echoes(), [], []
    for i, skip in enumerate(skips):
        frame = Frame(i, np.full((1, 1, 3), i, np.uint8))
        if not skip:
            echoes.enter(frame)
            flight.append(frame)
        ready = [flight.pop(0)] if len(flight) > delay else []
        shown += echoes.of(replace(f, version=f.id + 1) for f in ready)
        if skip:
            shown += echoes.skip(frame)
    shown += echoes.of(replace(f, version=f.id + 1) for f in flight)
    original = -1
    assert [f.id for f in shown] == list(range(len(skips)))
    for frame, skip in zip(shown, skips, strict=True):
        original = original if skip else frame.id
        assert frame.version == original + 1
        assert int(frame.pixels[0, 0, 0]) == original
