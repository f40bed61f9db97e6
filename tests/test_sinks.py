import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from millstream.errors import OutputError
from millstream.frame import Frame
from millstream.media.base import SourceInfo
from millstream.media.sinks import open_sink
from millstream.media.sources import open_source
from tests.media_files import clip, corners, moving, noise, packets, quadrants, sound_seconds, write_video

TICKS = {".mp4": 1e-5, ".mov": 1e-5, ".mkv": 1e-3, ".webm": 1e-3, ".gif": 1e-2}
LIKE = SourceInfo(96, 64, Fraction(25))


def frames(pictures, times=None):
    return [Frame(i, p, (times or {}).get(i, i / 25)) for i, p in enumerate(pictures)]


def copy(source_path, target):
    """Send a file through source and sink; give what the sink got, without the pixels."""
    source = open_source(source_path)
    with open_sink(target, source.info) as sink:
        for frame in source:
            sink.write(frame)
    return source.info


def write(path, pictures, times=None, like=LIKE):
    with open_sink(path, like) as sink:
        for frame in frames(pictures, times):
            sink.write(frame)
    return path


# --- the real clips


@pytest.mark.parametrize("name", ["bikes", "bigbuckbunny"])
def test_real_clips_keep_frames_times_duration_and_sound(tmp_path, name):
    target = tmp_path / f"{name}.mp4"
    info = copy(clip(name), target)
    before, after = open_source(clip(name)), open_source(target)
    assert (after.info.frames, after.info.rate, after.info.duration) == (info.frames, info.rate, info.duration)
    assert after.info.has_audio == info.has_audio
    count = 0
    for a, b in zip(before, after, strict=True):
        assert b.time == pytest.approx(a.time, abs=1e-9)
        if a.id % 20 == 0:
            assert np.abs(a.pixels.astype(np.int16) - b.pixels).mean() < 3
        count += 1
    assert count == info.frames
    with av.open(str(clip(name))) as one, av.open(str(target)) as two:
        for a, b in zip(one.streams, two.streams, strict=True):
            assert (a.type, a.codec_context.name) == (b.type, b.codec_context.name)
            assert a.duration * a.time_base == b.duration * b.time_base
            assert a.start_time == b.start_time == 0
    if info.has_audio:
        assert packets(target, "audio") == packets(clip(name), "audio")
        assert sound_seconds(target) == sound_seconds(clip(name))


def test_sound_lies_beside_the_pictures(tmp_path):
    copy(with_sound(tmp_path, "in.mp4"), tmp_path / "a.mkv")
    with av.open(str(tmp_path / "a.mkv")) as container:
        order = [(p.stream.type, float(p.pts * p.time_base)) for p in container.demux() if p.size]
    reached = {"audio": 0.0, "video": 0.0}
    for kind, time in order:
        reached[kind] = time
        assert abs(reached["audio"] - reached["video"]) < 0.1
    assert min(reached.values()) > 0.9


# --- pictures and times


@pytest.mark.parametrize("suffix", TICKS)
def test_uneven_times_are_kept_to_the_tick(tmp_path, suffix):
    times = {0: 0.0, 1: 0.04, 2: 0.06, 3: 0.5, 4: 0.53, 5: 1.0}
    pictures = moving(6)
    like = SourceInfo(96, 64, Fraction(6, 2), frames=6, duration=Fraction(2))
    source = open_source(write(tmp_path / f"a{suffix}", pictures, times, like))
    out = list(source)
    assert [f.time for f in out] == pytest.approx(list(times.values()), abs=TICKS[suffix] / 2 + 1e-9)
    if source.info.duration:  # Matroska has none of the pictures alone
        assert float(source.info.duration) == pytest.approx(2, abs=1e-6)


@pytest.mark.parametrize("rate", [Fraction(24_000, 1001), Fraction(30_000, 1001), Fraction(15), Fraction(50)])
def test_even_times_are_exact_in_mp4(tmp_path, rate):
    times = {i: float(i / rate) for i in range(40)}
    source = open_source(write(tmp_path / "a.mp4", moving(40), times, SourceInfo(96, 64, rate)))
    assert source.info.rate == rate
    assert source.info.duration == 40 / rate
    assert [f.time for f in source] == pytest.approx(list(times.values()), abs=1e-12)


@pytest.mark.parametrize("suffix", TICKS)
@pytest.mark.parametrize("size", [(96, 64), (1280, 720)])
def test_colours_come_back(tmp_path, suffix, size):
    picture = quadrants(*size)
    out = list(open_source(write(tmp_path / f"a{suffix}", [picture] * 3)))
    assert len(out) == 3
    for frame in out:
        assert frame.pixels.shape == picture.shape
        np.testing.assert_allclose(corners(frame.pixels), corners(picture), atol=3)


@pytest.mark.parametrize(("size", "matrix"), [((96, 64), 6), ((1280, 720), 1)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_colours_are_tagged(tmp_path, suffix, size, matrix):
    path = write(tmp_path / f"a{suffix}", [quadrants(*size)] * 2)
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0))
    assert (picture.colorspace, picture.color_range, picture.format.name) == (matrix, 1, "yuv420p")
    assert (picture.color_primaries, picture.color_trc) == (matrix, matrix)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_h264_repeats_the_last_line_of_odd_sizes(tmp_path, suffix):
    picture = quadrants(65, 33)
    out = list(open_source(write(tmp_path / f"a{suffix}", [picture] * 2)))[1].pixels
    assert out.shape == (34, 66, 3)
    assert np.abs(out[-1].astype(int) - out[-2]).mean() < 8
    np.testing.assert_allclose(corners(out), corners(picture), atol=4)


@pytest.mark.parametrize("suffix", [".webm", ".gif"])
def test_other_codecs_keep_odd_sizes(tmp_path, suffix):
    out = list(open_source(write(tmp_path / f"a{suffix}", [quadrants(65, 33)] * 2)))
    assert out[1].pixels.shape == (33, 65, 3)


def test_gif_to_gif_keeps_every_duration(tmp_path):
    pictures = [Image.fromarray(p) for p in moving(4)]
    pictures[0].save(tmp_path / "in.gif", save_all=True, append_images=pictures[1:], duration=[40, 300, 70, 1500])
    copy(tmp_path / "in.gif", tmp_path / "out.gif")
    with Image.open(tmp_path / "out.gif") as image:
        durations = []
        for i in range(image.n_frames):
            image.seek(i)
            durations.append(image.info["duration"])
    assert durations == [40, 300, 70, 1500]


def test_a_folder_is_lossless(tmp_path):
    pictures = [*noise(2), *noise(1, 50, 30)]
    write(f"{tmp_path}/frames/", pictures)
    assert entries(tmp_path / "frames") == ["000000.png", "000001.png", "000002.png"]
    for frame, picture in zip(open_source(tmp_path / "frames"), pictures, strict=True):
        np.testing.assert_array_equal(frame.pixels, picture)


def test_a_folder_that_exists_and_is_empty_is_filled(tmp_path):
    (tmp_path / "frames.v1").mkdir()
    write(tmp_path / "frames.v1", noise(1))
    assert entries(tmp_path / "frames.v1") == ["000000.png"]


@pytest.mark.parametrize(("suffix", "tolerance"), [("png", 0), ("jpg", 4), ("JPEG", 4), ("webp", 6)])
def test_one_picture(tmp_path, suffix, tolerance):
    write(tmp_path / f"a.{suffix}", [quadrants()])
    pixels = next(iter(open_source(tmp_path / f"a.{suffix}"))).pixels
    np.testing.assert_allclose(corners(pixels), corners(quadrants()), atol=tolerance)


# --- sound


def with_sound(folder, name="in.mkv", count=25, audio_at=0.0, codec="aac"):
    return write_video(folder / name, moving(count), audio_at=audio_at, audio_codec=codec)


@pytest.mark.parametrize(
    ("source", "target", "codec"),
    [
        ("in.mkv", "out.webm", "opus"),
        ("in.ts", "out.mp4", "aac"),
        ("in.mp4", "out.mov", "aac"),
        ("in.ts", "out.mkv", "aac"),
    ],
)
def test_sound_between_containers(tmp_path, source, target, codec):
    copy(with_sound(tmp_path, source), tmp_path / target)
    with av.open(str(tmp_path / target)) as container:
        assert container.streams.audio[0].codec_context.name == codec
    before, after = sound_seconds(tmp_path / source), sound_seconds(tmp_path / target)
    assert after[1] == pytest.approx(before[1], abs=0.03)
    assert len(list(open_source(tmp_path / target))) == 25


def test_surround_becomes_opus(tmp_path):
    source = open_source(clip("bigbuckbunny"))
    write(tmp_path / "a.webm", moving(3), like=source.info)
    with av.open(str(tmp_path / "a.webm")) as container:
        track = container.streams.audio[0]
        assert (track.codec_context.name, track.channels) == ("opus", 6)
    assert sound_seconds(tmp_path / "a.webm")[1] == pytest.approx(sound_seconds(clip("bigbuckbunny"))[1], abs=0.03)


@pytest.mark.parametrize(
    ("codec", "target", "becomes"),
    [
        ("libopus", "out.mov", "aac"),
        ("flac", "out.mov", "aac"),
        ("flac", "out.mp4", "flac"),
        ("flac", "out.webm", "opus"),
        ("pcm_s16le", "out.mkv", "pcm_s16le"),
        ("ac3", "out.mp4", "ac3"),
    ],
)
def test_sound_is_copied_where_the_container_takes_it(tmp_path, codec, target, becomes):
    source = with_sound(tmp_path, codec=codec)
    copy(source, tmp_path / target)
    with av.open(str(tmp_path / target)) as container:
        assert container.streams.audio[0].codec_context.name == becomes
    assert (packets(tmp_path / target, "audio") == packets(source, "audio")) == (becomes == codec)
    assert sound_seconds(tmp_path / target)[1] == pytest.approx(sound_seconds(source)[1], abs=0.01)


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.webm"])
def test_sound_that_begins_later_stays_later(tmp_path, target):
    copy(with_sound(tmp_path, "in.mkv", audio_at=0.5), tmp_path / target)
    assert sound_seconds(tmp_path / target)[0] == pytest.approx(0.5, abs=0.03)
    assert next(iter(open_source(tmp_path / target))).time == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.webm"])
def test_the_primer_of_the_sound_does_not_move_the_pictures(tmp_path, target):
    copy(with_sound(tmp_path, "in.mp4"), tmp_path / target)
    times = [frame.time for frame in open_source(tmp_path / target)]
    assert times == pytest.approx([i / 25 for i in range(25)], abs=1e-9)


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.webm"])
def test_a_late_start_is_taken_from_the_sound_as_well(tmp_path, target):
    ticks = [180_000 + 3600 * i for i in range(25)]
    copy(write_video(tmp_path / "in.mkv", moving(25), ticks=ticks, audio_at=2.0), tmp_path / target)
    assert sound_seconds(tmp_path / target)[0] == pytest.approx(0, abs=0.03)
    assert next(iter(open_source(tmp_path / target))).time == pytest.approx(0, abs=0.03)


def test_a_gif_has_no_sound(tmp_path):
    copy(with_sound(tmp_path, count=3), tmp_path / "a.gif")
    assert not open_source(tmp_path / "a.gif").info.has_audio


# --- what stays when something goes wrong


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "frames"])
def test_ctrl_c_leaves_a_playable_file(tmp_path, name):
    with pytest.raises(KeyboardInterrupt), open_sink(tmp_path / name, LIKE) as sink:
        for frame in frames(moving(10)):
            sink.write(frame)
            if frame.id == 6:
                raise KeyboardInterrupt
    assert entries(tmp_path) == [name]
    assert len(list(open_source(tmp_path / name))) == 7


def test_ctrl_c_ends_the_sound_with_the_pictures(tmp_path):
    source = open_source(clip("bigbuckbunny"))
    with pytest.raises(KeyboardInterrupt), open_sink(tmp_path / "a.mp4", source.info) as sink:
        for frame in frames(moving(25)):
            sink.write(frame)
        raise KeyboardInterrupt
    assert sound_seconds(tmp_path / "a.mp4")[1] == pytest.approx(1, abs=0.03)


def test_ctrl_c_before_the_first_picture_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_sink(tmp_path / "a.mp4", LIKE):
        raise KeyboardInterrupt
    assert entries(tmp_path) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.gif", "a.png"])
def test_an_error_leaves_the_older_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(ZeroDivisionError), open_sink(tmp_path / name, LIKE) as sink:
        sink.write(Frame(0, quadrants()))
        raise ZeroDivisionError
    assert entries(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"precious"


def test_an_error_leaves_no_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), open_sink(tmp_path / "frames", LIKE) as sink:
        sink.write(Frame(0, quadrants()))
        raise ZeroDivisionError
    assert entries(tmp_path) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.png"])
def test_the_older_file_stands_until_the_end_and_is_then_replaced(tmp_path, name):
    (tmp_path / name).write_bytes(b"old")
    with open_sink(tmp_path / name, LIKE) as sink:
        sink.write(Frame(0, quadrants()))
        assert (tmp_path / name).read_bytes() == b"old"
    assert entries(tmp_path) == [name]
    assert len(list(open_source(tmp_path / name))) == 1


def test_a_file_can_be_converted_in_place(tmp_path):
    path = with_sound(tmp_path, "a.mp4")
    sound, lasts = packets(path, "audio"), sound_seconds(path)
    copy(path, path)
    assert packets(path, "audio") == sound
    assert sound_seconds(path) == lasts
    assert len(list(open_source(path))) == 25


FULL = """
import resource, signal, sys
from millstream.errors import OutputError
from millstream.frame import Frame
from millstream.media.base import SourceInfo
from millstream.media.sinks import open_sink
from tests.media_files import noise

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    with open_sink(sys.argv[1], SourceInfo(96, 64)) as sink:
        for i, pixels in enumerate(noise(1 if sys.argv[1].endswith("png") else 30)):
            sink.write(Frame(i, pixels, i / 25))
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [1000, 40_000])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.gif", "a.png"])
def test_no_room_is_one_line_and_leaves_the_older_file(tmp_path, name, limit):
    """A limit on the size of files makes writing fail half-way, as a full disk does, for every user."""
    if name == "a.png" and limit > 1000:
        limit = 10_000
    (tmp_path / name).write_bytes(b"precious")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / name), str(limit)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    assert name in done.stdout and "free some space" in done.stdout
    assert done.stderr == ""
    assert entries(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"precious"


# --- faults


def refused(match, path, pictures, **more):
    before = entries(path.parent) if path.parent.exists() else None
    with pytest.raises(OutputError, match=match) as error:
        write(path, pictures, **more)
    assert "\n" not in str(error.value) and ";" in str(error.value)
    assert (entries(path.parent) if path.parent.exists() else None) == before


def test_faults_are_one_line_that_names_the_cure(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    refused(r"\.mp4.*\.png", tmp_path / "a.xyz", moving(1))
    refused("no folder", tmp_path / "none" / "a.mp4", moving(1))
    refused("not empty", tmp_path / "full", moving(1))
    refused("no picture came", tmp_path / "a.mp4", [])
    refused("one picture", tmp_path / "a.png", moving(2))
    refused("96x64", tmp_path / "a.mp4", [*moving(1), *moving(1, 50, 50)])
    for suffix, tick in TICKS.items():
        refused("not later", tmp_path / f"a{suffix}", moving(2), times={1: tick / 3})


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    for name in ("a.mp4", "a.png"):
        write(tmp_path / name, moving(1))
        assert (tmp_path / name).stat().st_mode == (tmp_path / "plain").stat().st_mode
