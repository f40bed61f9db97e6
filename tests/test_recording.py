"""Live pictures in a file and in a pipe, read back."""

import io
import os
import shutil
import subprocess
import sys
from time import monotonic

import av
import numpy as np
import pytest

from millstream.errors import OutputError
from millstream.frame import Frame
from millstream.media import recording, room
from millstream.media.base import SourceInfo
from millstream.media.live import SUFFIXES, open_live_sink
from millstream.media.status import Status

LIKE = SourceInfo(64, 48)
PIPED = """
import sys, numpy as np
from millstream.frame import Frame
from millstream.media.recording import PipeSink, ReaderGoneError
try:
    with PipeSink() as sink:
        for i in range(int(sys.argv[1])):
            sink.write(Frame(i, np.random.default_rng(i).integers(0, 256, (30, 50, 3), np.uint8), i * 0.04))
except ReaderGoneError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def picture(seed, width=64, height=48):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def read(path):
    with av.open(str(path)) as container:
        return [(frame.time, frame.width, frame.height) for frame in container.decode(video=0)]


def record(path, frames):
    with open_live_sink(str(path), LIKE) as sink:
        sink.run(iter(frames), lambda speed: Status(), None, {})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_real_times_are_kept(tmp_path, suffix):
    times = [0.0, 0.04, 0.11, 0.5]
    record(tmp_path / f"a{suffix}", [Frame(i, picture(i), 1000 + time) for i, time in enumerate(times)])
    shown = read(tmp_path / f"a{suffix}")
    assert [time for time, *_ in shown] == pytest.approx(times, abs=0.0011)
    assert {size for _, *size in map(tuple, shown) for size in [tuple(size)]} == {(64, 48)}


def test_a_picture_made_again_lies_where_it_came_out(tmp_path):
    now = monotonic()
    record(tmp_path / "a.mkv", [Frame(0, picture(0), now - 10), Frame(0, picture(1), now - 10)])
    first, second = (time for time, *_ in read(tmp_path / "a.mkv"))
    assert first == 0
    assert 10 <= second <= 10 + monotonic() - now


def test_pictures_of_one_moment_lie_behind_each_other(tmp_path):
    record(tmp_path / "a.mkv", [Frame(i, picture(i), monotonic() + 10 + i * 1e-6) for i in range(20)])
    times = [time for time, *_ in read(tmp_path / "a.mkv")]
    assert len(times) == 20
    assert times == sorted(set(times))


def test_a_size_that_changes_is_fitted_to_the_first(tmp_path):
    frames = [Frame(0, picture(0), 1.0), Frame(1, picture(1, 32, 24), 2.0), Frame(2, picture(2, 80, 80), 3.0)]
    record(tmp_path / "a.mp4", frames)
    assert [size for _, *size in read(tmp_path / "a.mp4")] == [[64, 48]] * 3


@pytest.mark.parametrize("name", ["a.gif", "a.png", "folder", "a.xyz"])
def test_what_is_no_recording_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match="live pictures go to `window`, `-` or a video"):
        open_live_sink(str(tmp_path / name), LIKE)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_recording_ends_whole_before_its_disk_is_full(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    frames = [Frame(i, picture(i), 1.0 + i / 30) for i in range(4)]
    monkeypatch.setattr(recording, "LOOK", -1.0)  # at every picture

    def fills():
        yield from frames[:3]
        monkeypatch.setattr(room, "RESERVE", shutil.disk_usage(tmp_path).total + 1)
        yield frames[3]

    with pytest.raises(OutputError, match="free some space") as full:
        record(path, fills())
    assert str(path) in str(full.value) and full.value.exit_code == 4
    assert len(read(path)) == 3
    with pytest.raises(OutputError, match="free some space"):
        record(tmp_path / f"b{suffix}", frames)
    assert list(tmp_path.iterdir()) == [path]


def command(count):
    return [sys.executable, "-c", PIPED, str(count)]


def test_a_pipe_carries_the_pictures_to_the_last_bit():
    ended = subprocess.run(command(20), capture_output=True, check=True)
    assert ended.stderr == b""
    with av.open(io.BytesIO(ended.stdout), format="nut") as container:
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([i * 0.04 for i in range(20)], abs=1e-4)
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), picture(i, 50, 30))


def test_a_pipe_into_a_file_is_a_film(tmp_path):
    with (tmp_path / "a.nut").open("wb") as file:
        subprocess.run(command(5), stdout=file, check=True)
    assert [size for _, *size in read(tmp_path / "a.nut")] == [[50, 30]] * 5


def test_a_reader_that_leaves_is_said_in_one_line():
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(command(100), stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert ended.returncode == 141
    assert ended.stderr == "-: whoever read the pictures has gone; the stream has ended\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")  # noqa: PTH110
def test_a_disk_that_is_full_is_said():
    code = PIPED.replace("ReaderGoneError", "OutputError").replace("import PipeSink, OutputError", "import *")
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        ended = subprocess.run(
            [sys.executable, "-c", code, "3"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 4
    assert ended.stderr == "-: No space left on device; free some space or write to another place\n"
