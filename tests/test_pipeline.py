"""A stream end to end: real clips through a real model, offline, and changes on the way."""

import threading
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from millstream import BadInputError, MillstreamError, ModelError, OutputError, Params, Stream, StreamConfig
from millstream.media.sources import open_source
from millstream.models import load_model
from millstream.params import ModelConfig
from millstream.pipeline import convert
from tests import tiny
from tests.media_files import clip

SMALL = StreamConfig(width=64, height=32, steps=2)


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig(name=str(tiny.small())))


def pictures(count):
    return [np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8) for i in range(count)]


def times(path: Path) -> list[float]:
    return [frame.time for frame in open_source(path)]


def audio(path: Path) -> list[tuple[int, bytes]]:
    """Time in ticks and bytes of every packet of the first audio track."""
    with av.open(str(path)) as container:
        return [(p.pts, bytes(p)) for p in container.demux(container.streams.audio[0]) if p.size]


def durations(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(s.duration * s.time_base) for s in container.streams if s.type in ("video", "audio")]


@pytest.mark.parametrize("name", ["bikes", "bigbuckbunny"])
def test_real_clips_keep_frames_times_duration_and_sound(model, tmp_path, name):
    source, target = clip(name), tmp_path / "out.mp4"
    with Stream.open(model, SMALL.model_copy(update={"frame_buffer": 3, "steps": 3})) as stream:
        written = list(convert(stream, open_source(source), target))
    assert [frame.id for frame in written] == list(range(len(times(source))))
    assert np.allclose(times(target), times(source), atol=1e-6)
    assert np.allclose(durations(target), durations(source), atol=1e-4)
    if name == "bigbuckbunny":
        assert audio(target) == audio(source)


def test_a_change_between_frames_reaches_the_frames_that_enter_later(model):
    with Stream.open(model, SMALL, Params(prompt="one")) as stream:
        outputs = []
        for frame in stream.run(pictures(12)):
            outputs.append(frame)
            if frame.id == 4:
                assert stream.update(prompt="two", strength=0.9) == 2
    assert [frame.id for frame in outputs] == list(range(12))
    # Frame 4 has come out, so 5 is in flight: it entered before the change and keeps what it entered with.
    assert [frame.version for frame in outputs] == [1] * 6 + [2] * 6


def test_a_stream_can_run_again_and_nothing_of_the_first_run_is_left(model):
    with Stream.open(model, SMALL) as stream:
        first = [frame.pixels for frame in stream.run(pictures(3))]
        again = [frame.pixels for frame in stream.run(pictures(3))]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_leaving_a_run_half_way_leaves_no_frame_behind(model):
    with Stream.open(model, SMALL) as stream:
        expected = [frame.pixels for frame in stream.run(pictures(3))]
        before = threading.active_count()
        run = stream.run(pictures(9))
        assert [frame.id for frame in islice(run, 2)] == [0, 1]
        run.close()
        assert threading.active_count() == before
        again = list(stream.run(pictures(3)))
    assert [frame.id for frame in again] == [0, 1, 2]
    assert all(np.array_equal(a.pixels, b) for a, b in zip(again, expected, strict=True))


def test_stopping_half_way_leaves_a_playable_file(model, tmp_path):
    target = tmp_path / "out.mp4"
    with Stream.open(model, SMALL) as stream:
        written = convert(stream, open_source(clip("bikes")), target)
        assert [frame.id for frame in islice(written, 10)] == list(range(10))
        assert not target.exists()
        written.close()
    assert len(times(target)) == 10
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_an_error_leaves_what_stood_there(model, tmp_path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"a good film")

    def source():
        yield from pictures(5)
        raise RuntimeError("camera unplugged")

    with Stream.open(model, SMALL) as stream, pytest.raises(RuntimeError, match="unplugged"):
        list(convert(stream, open_source(source()), target))
    assert target.read_bytes() == b"a good film"
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_text_to_image(model):
    with Stream.open(model, StreamConfig(width=32, height=32, input="text"), Params(prompt="a boat")) as stream:
        made = list(stream.generate(3))
        assert [frame.id for frame in made] == [0, 1, 2]
        assert all(frame.pixels.shape == (32, 32, 3) for frame in made)
        assert len(list(islice(stream.generate(), 5))) == 5


def test_generate_needs_a_stream_of_text(model):
    with Stream.open(model, SMALL) as stream, pytest.raises(BadInputError, match='input="text"'):
        stream.generate(1)


def test_faults_are_raised_where_they_can_be_seen(model, tmp_path):
    with pytest.raises(ModelError, match="no such"):
        Stream.open(str(tmp_path / "nothing"))
    with Stream.open(model, SMALL) as stream:
        with pytest.raises(BadInputError, match="no such file"):
            list(stream.run(tmp_path / "nothing.mp4"))
        with pytest.raises(OutputError, match="suffix"):
            list(convert(stream, open_source("demo"), tmp_path / "film.xyz"))
        with pytest.raises(BadInputError, match="shape"):
            list(stream.run([np.zeros((4, 4, 7), np.uint8)]))


def test_a_stream_that_is_live_takes_no_file(model):
    with Stream.open(model, SMALL) as stream:
        stream.submit(pictures(1)[0])
        with pytest.raises(MillstreamError, match="in use"):
            list(stream.run(pictures(1)))
    with pytest.raises(MillstreamError, match="closed"):
        stream.poll()
