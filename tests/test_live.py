"""The live worker, on a real model in a real thread. Waits have a limit; nothing here asserts a speed."""

import threading
from time import monotonic

import numpy as np
import pytest

from millstream import BadInputError, Frame, MillstreamError, ModelError, Params, Stream, StreamConfig
from millstream.models import load_model
from millstream.params import ModelConfig
from tests import tiny

SIZE = {"width": 32, "height": 32}
LIMIT = 20.0


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig(name=str(tiny.small())))


def picture(seed, size=32):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def wait_for(stream, accept):
    end = monotonic() + LIMIT
    while monotonic() < end:
        frame = stream.poll(timeout=0.5)
        if frame is not None and accept(frame):
            return frame
    raise AssertionError("the picture never came")


@pytest.mark.parametrize("stall", ["resend", "hold"])
@pytest.mark.parametrize("frame_buffer", [1, 2])
def test_one_picture_comes_out_though_no_second_follows(model, stall, frame_buffer):
    config = StreamConfig(**SIZE, steps=4, stall=stall, frame_buffer=frame_buffer)
    with Stream.open(model, config) as stream:
        stream.submit(picture(0))
        assert wait_for(stream, lambda frame: True).id == 0


def test_live_gives_what_offline_gives(model):
    config = StreamConfig(**SIZE, steps=3, stall="hold")
    pictures = [picture(i) for i in range(5)]
    with Stream.open(model, config) as stream:
        expected = list(stream.run(pictures))
    with Stream.open(model, config) as stream:
        for i, pixels in enumerate(pictures):
            stream.submit(pixels)
            assert np.abs(wait_for(stream, lambda f, i=i: f.id == i).pixels.astype(int) - expected[i].pixels).max() <= 1


def test_the_newest_wins(model):
    with Stream.open(model, StreamConfig(**SIZE, stall="hold")) as stream:
        for i in range(300):
            stream.submit(picture(i % 7))
        rest = stream.drain()
        stats = stream.stats()
    assert rest[-1].id == 299
    assert [f.id for f in rest] == sorted({f.id for f in rest})
    assert stats.submitted == 300
    assert stats.finished == 300 - stats.dropped_before
    assert stats.dropped_before > 0


def test_a_new_prompt_shows_though_the_source_has_stalled(model):
    with Stream.open(model, StreamConfig(**SIZE, steps=2)) as stream:
        stream.submit(picture(0))
        before = wait_for(stream, lambda frame: True)
        version = stream.update(prompt="something else", strength=0.9)
        after = wait_for(stream, lambda frame: frame.version == version)
    assert after.id == before.id == 0
    assert not np.array_equal(after.pixels, before.pixels)


def test_drain_gives_everything_in_flight_once(model):
    with Stream.open(model, StreamConfig(**SIZE, steps=3, stall="hold")) as stream:
        stream.submit(picture(0))
        wait_for(stream, lambda frame: True)
        stream.submit(picture(1))
        assert [f.id for f in stream.drain()] == [1]
        assert stream.drain() == []
        stream.submit(picture(2))
        assert wait_for(stream, lambda frame: True).id == 2


def test_pictures_of_any_size_are_fitted(model):
    with Stream.open(model, StreamConfig(**SIZE)) as stream:
        stream.submit(picture(0, size=57))
        assert wait_for(stream, lambda frame: True).pixels.shape == (32, 32, 3)


def test_ages_are_measured_from_capture(model):
    with Stream.open(model, StreamConfig(**SIZE, stall="hold")) as stream:
        stream.submit(Frame(0, picture(0), time=monotonic() - 5))
        wait_for(stream, lambda frame: True)
        stats = stream.stats()
    assert 5000 <= stats.age_ms_p50 < 5000 + LIMIT * 1000


def test_percentiles_of_age(model):
    with Stream.open(model, StreamConfig(**SIZE, stall="hold")) as stream:
        stream.submit(picture(0))
        assert stream.drain()
        live = stream._running()
        live._ages.clear()
        assert live.stats().age_ms_p50 is None
        live._ages.extend(i / 1000 for i in range(101))
        stats = live.stats()
    assert np.allclose([stats.age_ms_p50, stats.age_ms_p95, stats.age_ms_p99], [50, 95, 99])


def test_pictures_are_read_as_everywhere_and_refused_at_once(model):
    with Stream.open(model, StreamConfig(**SIZE, stall="hold")) as stream:
        expected = [frame.pixels for frame in stream.run([picture(0)[..., 0], picture(0) / 255.0])]
        for i, pixels in enumerate((picture(0)[..., 0], picture(0) / 255.0)):
            stream.submit(pixels)
            assert np.array_equal(wait_for(stream, lambda f, i=i: f.id == i).pixels, expected[i])
        for wrong in (np.zeros((4, 4, 7), np.uint8), picture(0) * 1.0, "picture.png"):
            with pytest.raises(BadInputError, match="give"):
                stream.submit(wrong)
        stream.submit(picture(1))
        assert wait_for(stream, lambda f: True).id == 2


def test_an_array_used_again_by_its_camera_does_no_harm(model):
    buffer = picture(0).copy()
    with Stream.open(model, StreamConfig(**SIZE, stall="hold")) as stream:
        expected = next(iter(stream.run([picture(0)]))).pixels
    with Stream.open(model, StreamConfig(**SIZE, stall="hold")) as stream:
        stream.submit(buffer)
        buffer[:] = 0
        assert np.array_equal(wait_for(stream, lambda f: True).pixels, expected)


def test_what_stops_the_worker_is_said():
    with Stream.open(str(tiny.broken()), StreamConfig(**SIZE)) as stream:
        stream.submit(picture(0))
        with pytest.raises(ModelError, match="NaN"):
            wait_for(stream, lambda frame: True)
        with pytest.raises(ModelError, match="NaN"):
            stream.drain()
        with pytest.raises(ModelError, match="NaN"):
            stream.submit(picture(1))


def test_closing_ends_the_thread_and_says_so(model):
    before = threading.active_count()
    stream = Stream.open(model, StreamConfig(**SIZE))
    stream.submit(picture(0))
    stream.close()
    assert threading.active_count() == before
    with pytest.raises(MillstreamError, match="closed"):
        stream.submit(picture(0))


def test_prompts_can_change_while_the_worker_runs(model):
    """A hundred changes from another thread: versions only grow, and the last one shows."""
    with Stream.open(model, StreamConfig(**SIZE, steps=2), Params(prompt="0")) as stream:
        changer = threading.Thread(target=lambda: [stream.update(prompt=str(i), seed=i) for i in range(100)])
        changer.start()
        versions = []
        for i in range(60):
            stream.submit(picture(i))
            frame = stream.poll(timeout=0.2)
            versions += [frame.version] if frame else []
        changer.join()
        last = wait_for(stream, lambda frame: frame.version == 101)
    assert versions == sorted(versions)
    assert last.version == 101
