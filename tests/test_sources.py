from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from millstream.errors import BadInputError
from millstream.media.sources import Source, open_source
from tests.media_files import (
    BLUE,
    COLOURS,
    GREEN,
    RED,
    YELLOW,
    assert_one_line,
    assert_shows,
    clip,
    corners,
    frames_of,
    moving,
    noise,
    quadrants,
    write_tone,
    write_video,
)

LOSSLESS = {"codec": "ffv1", "pixel_format": "yuv444p"}


# --- video: the real clips


@pytest.mark.parametrize(
    ("name", "count", "size", "sound"),
    [("bikes", 250, (640, 272), False), ("bigbuckbunny", 132, (1280, 720), True)],
)
def test_real_clips(name, count, size, sound):
    source = open_source(clip(name))
    info, seen = source.info, 0
    for seen, frame in enumerate(source, start=1):
        assert frame.id == seen - 1
        assert frame.time == pytest.approx(frame.id / 25, abs=1e-9)
        assert frame.pixels.shape == (size[1], size[0], 3)
    assert seen == count == info.frames
    assert ((info.width, info.height), info.rate, info.has_audio) == (size, 25, sound)
    assert info.duration == Fraction(count, 25)
    assert isinstance(source, Source)


# --- video: colour


def yuv_of(colour, kr, kb, full):
    """ITU-T H.273, equations 24 to 32: 8-bit Y'CbCr of an R'G'B' colour."""
    r, g, b = (level / 255 for level in colour)
    y = kr * r + (1 - kr - kb) * g + kb * b
    pb, pr = (b - y) / (2 - 2 * kb), (r - y) / (2 - 2 * kr)
    return (255 * y, 255 * pb + 128, 255 * pr + 128) if full else (219 * y + 16, 224 * pb + 128, 224 * pr + 128)


def yuv_picture(kr, kb, full, bits, width=96, height=64):
    planes = np.empty((3, height, width))
    top, left = height // 2, width // 2
    for (rows, columns), colour in zip(
        [
            (slice(top), slice(left)),
            (slice(top), slice(left, None)),
            (slice(top, None), slice(left)),
            (slice(top, None), slice(left, None)),
        ],
        [RED, GREEN, BLUE, YELLOW],
        strict=True,
    ):
        planes[:, rows, columns] = np.array(yuv_of(colour, kr, kb, full))[:, None, None]
    picture = av.VideoFrame(width, height, f"yuv444p{bits}le" if bits > 8 else "yuv444p")
    scaled = np.rint(planes * 2 ** (bits - 8)).astype(np.uint16 if bits > 8 else np.uint8)
    for plane, levels in zip(picture.planes, scaled, strict=True):
        padded = np.zeros((height, plane.line_size // levels.itemsize), levels.dtype)
        padded[:, :width] = levels
        plane.update(padded.tobytes())
    return picture


MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_tagged_colours_are_read_by_their_tags(tmp_path, matrix, full, bits):
    def tag(stream):
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1

    picture = yuv_picture(*MATRICES[matrix], full, bits)
    picture.colorspace, picture.color_range = matrix, 2 if full else 1
    path = write_video(tmp_path / "a.mkv", [picture], "ffv1", picture.format.name, prepare=tag)
    assert_shows(frames_of(path)[0].pixels, COLOURS)


@pytest.mark.parametrize(("size", "matrix"), [((640, 360), 6), ((1280, 720), 1), ((720, 1280), 1), ((720, 576), 6)])
def test_untagged_colours_go_by_size(tmp_path, size, matrix):
    picture = yuv_picture(*MATRICES[matrix], False, 8, *size)
    path = write_video(tmp_path / "a.mkv", [picture], **LOSSLESS)
    assert_shows(frames_of(path)[0].pixels, COLOURS)


@pytest.mark.parametrize(("color_range", "shown"), [(1, [0, 85, 170, 255]), (2, [16, 89, 162, 235])])
def test_grey(tmp_path, color_range, shown):
    grey = np.repeat(np.repeat(np.array([[16, 89], [162, 235]], np.uint8), 32, axis=0), 32, axis=1)
    picture = av.VideoFrame.from_ndarray(grey, format="gray")
    picture.color_range = color_range

    def tag(stream):
        stream.codec_context.color_range = color_range

    path = write_video(tmp_path / "a.mkv", [picture], "ffv1", "gray", prepare=tag)
    assert_shows(frames_of(path)[0].pixels, np.repeat(np.array(shown)[:, None], 3, axis=1), 1)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [("a.webm", "libvpx-vp9", "yuva420p"), ("a.mov", "qtrle", "argb"), ("a.mov", "png", "rgba")],
)
def test_alpha_is_laid_over_white(tmp_path, name, codec, pixel_format):
    alpha = np.full((64, 96, 1), 128, np.uint8)
    picture = np.concatenate([quadrants(), alpha], axis=2)
    path = write_video(tmp_path / name, [picture] * 2, codec, pixel_format, options={"b": "2M"})
    expected = 255 + (COLOURS - 255) * 128 / 255
    frames = frames_of(path)
    assert len(frames) == 2
    assert_shows(frames[1].pixels, expected, 6)


# --- video: geometry


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 1), lambda p: p),
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),  # a quarter turn clockwise: (x, y) goes to (-y, x)
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda p: np.swapaxes(p, 0, 1)),
        ((0, -1, -1, 0), lambda p: np.rot90(np.swapaxes(p, 0, 1), 2)),
    ],
)
def test_display_matrix(tmp_path, matrix, turned):
    a, b, c, d = (value << 16 for value in matrix)
    path = write_video(
        tmp_path / "a.mp4",
        [quadrants()] * 3,
        prepare=lambda stream: stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30)),
    )
    source = open_source(path)
    expected = turned(quadrants())
    assert (source.info.height, source.info.width) == expected.shape[:2]
    for frame in source:
        assert frame.pixels.shape == expected.shape
        assert_shows(frame.pixels, corners(expected), 8)


@pytest.mark.parametrize(
    ("aspect", "size"), [(Fraction(2), (192, 64)), (Fraction(1, 2), (96, 128)), (Fraction(4, 3), (128, 64))]
)
def test_pixels_are_made_square(tmp_path, aspect, size):
    def prepare(stream):
        stream.codec_context.sample_aspect_ratio = aspect

    source = open_source(write_video(tmp_path / "a.mp4", [quadrants()], prepare=prepare))
    pixels = next(iter(source)).pixels
    assert (source.info.width, source.info.height) == size == pixels.shape[1::-1]
    assert_shows(pixels, COLOURS, 6)


@pytest.mark.parametrize("size", [(65, 33), (64, 33), (65, 32)])
@pytest.mark.parametrize(("codec", "pixel_format"), [("ffv1", "yuv420p"), ("libvpx-vp9", "yuv420p")])
def test_odd_sizes(tmp_path, size, codec, pixel_format):
    path = write_video(tmp_path / "a.mkv", [quadrants(*size)], codec, pixel_format, options={"b": "2M"})
    pixels = frames_of(path)[0].pixels
    assert pixels.shape == (size[1], size[0], 3)
    assert_shows(pixels, COLOURS, 6)


# --- video: time


def test_uneven_times_are_the_files_own(tmp_path):
    ticks = [0, 3600, 5000, 20_000, 20_003, 90_000]
    frames = frames_of(write_video(tmp_path / "a.mp4", moving(6), ticks=ticks))
    assert [f.time for f in frames] == pytest.approx([tick / 90_000 for tick in ticks], abs=1e-9)
    assert [f.id for f in frames] == list(range(6))


@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_a_late_start_is_time_0(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}", moving(5), ticks=[180_000 + 3600 * i for i in range(5)])
    assert [f.time for f in frames_of(path)] == pytest.approx([i / 25 for i in range(5)], abs=1e-3)


def test_pictures_later_than_the_sound_stay_later(tmp_path):
    ticks = [45_000 + 3600 * i for i in range(5)]
    path = write_video(tmp_path / "a.mkv", moving(5), ticks=ticks, audio_at=0.0)
    assert frames_of(path)[0].time == pytest.approx(0.5, abs=0.03)


def test_a_stream_without_time_stamps_runs_at_its_rate(tmp_path):
    path = write_video(tmp_path / "a.h264", moving(5), options={"bf": "0"})
    assert [f.time for f in frames_of(path)] == pytest.approx([i / 25 for i in range(5)], abs=1e-6)


# --- video: faults


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "avi", "flv"])
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_file_cut_short_gives_what_it_has_and_says_so(tmp_path, suffix, share):
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(suffix, "libx264")
    options = {"movflags": "faststart"} if suffix in ("mp4", "mov") else {}

    def prepare(stream):
        if suffix == "avi":  # which knows no time between frames
            stream.codec_context.time_base = Fraction(1, 25)

    path = write_video(tmp_path / f"a.{suffix}", noise(60), codec, prepare=prepare, options=options)
    assert len(frames_of(path)) == 60

    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    frames = []
    with pytest.raises(BadInputError, match="ends too early") as error:
        for frame in open_source(path):
            frames.append(frame)
    assert 0 < len(frames) < 60
    assert f" {len(frames)} frames" in str(error.value)
    assert_one_line(error)


def test_a_file_cut_between_two_frames(tmp_path):
    path = write_video(tmp_path / "a.mp4", noise(60), options={"movflags": "faststart"})
    with av.open(str(path)) as container:
        start = container.streams.video[0].index_entries[40].pos
    path.write_bytes(path.read_bytes()[:start])
    with pytest.raises(BadInputError, match="ends too early, 40 frames"):
        frames_of(path)


def missing(folder):
    return folder / "none.mp4"


def empty(folder):
    (folder / "a.mp4").touch()
    return folder / "a.mp4"


def text(folder):
    (folder / "a.mp4").write_text("not a video\n" * 100)
    return folder / "a.mp4"


def without_index(folder):
    (folder / "a.mp4").write_bytes(clip("bikes").read_bytes()[:300_000])
    return folder / "a.mp4"


def only_sound(folder):
    write_tone(folder / "a.m4a")
    return folder / "a.m4a"


def empty_folder(folder):
    (folder / "notes.txt").write_text("no picture")
    return folder


def half_a_picture(folder):
    Image.fromarray(noise(1)[0]).save(folder / "a.jpg")
    (folder / "a.jpg").write_bytes((folder / "a.jpg").read_bytes()[:2000])
    return folder / "a.jpg"


def huge_picture(folder):
    Image.new("1", (17_000, 100)).save(folder / "a.png")
    return folder / "a.png"


def too_many_pixels(folder):
    Image.new("1", (12_000, 9_000)).save(folder / "a.png")
    return folder / "a.png"


def bomb(folder):
    Image.new("1", (16_000, 12_000)).save(folder / "a.png")
    return folder / "a.png"


def huge_video(folder):
    return write_video(folder / "a.mkv", [np.zeros((16, 17_000, 3), np.uint8)], **LOSSLESS)


def floating_point_picture(folder):
    Image.fromarray(np.zeros((8, 8), np.float32)).save(folder / "a.tif")
    return folder / "a.tif"


@pytest.mark.parametrize(
    "make",
    [
        missing,
        empty,
        text,
        without_index,
        only_sound,
        empty_folder,
        half_a_picture,
        huge_picture,
        too_many_pixels,
        bomb,
        huge_video,
        floating_point_picture,
    ],
)
def test_bad_input_is_one_line_that_names_the_file(tmp_path, make):
    path = make(tmp_path)
    with pytest.raises(BadInputError) as error:
        frames_of(path)
    assert_one_line(error)
    assert str(path) in str(error.value)


def test_a_playlist_cannot_reach_other_places(tmp_path):
    (tmp_path / "a.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(BadInputError):
        open_source(tmp_path / "a.m3u8")
