"""Writing frames as a video file."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.video.stream import VideoStream

from millstream.errors import OutputError
from millstream.frame import Frame, Pixels
from millstream.media.audio import AudioTrack
from millstream.media.base import DEFAULT_RATE, SourceInfo
from millstream.media.colour import to_palette, to_yuv420p

_TICKS = 90_000
_MAX_DENOMINATOR = 1001  # of the rates in use, 24000/1001 and its kin have the largest


@dataclass(frozen=True, slots=True)
class _Codec:
    """How pictures are encoded for a container; `audio` is the encoder where packets cannot be copied."""

    name: str
    pixel_format: str
    convert: Callable[[Pixels], av.VideoFrame]
    options: dict[str, str] = field(default_factory=dict)
    audio: str | None = None
    even: bool = False
    ticks: int | None = None


# Without B-frames packets come in the order of presentation: MP4 then holds every time and duration exactly, also
# where the rate varies. A quick preset, because the encoder shares the processor with the model.
_H264 = _Codec("libx264", "yuv420p", to_yuv420p, {"crf": "18", "bf": "0", "preset": "veryfast"}, "aac", even=True)
_VP9 = _Codec("libvpx-vp9", "yuv420p", to_yuv420p, {"crf": "24", "cpu-used": "4", "row-mt": "1"}, "libopus")
_GIF = _Codec("gif", "pal8", to_palette, ticks=100)
_CODECS = {".mp4": _H264, ".mov": _H264, ".mkv": _H264, ".webm": _VP9, ".gif": _GIF}

VIDEO_SUFFIXES = tuple(_CODECS)


class VideoWriter:
    """Encodes frames to a file of the container that the suffix names, with the audio of `like`.

    Times are kept to the container's tick: finer than 12 microseconds in MP4 and MOV, 1 ms in Matroska and WebM,
    10 ms in GIF. The size is the first frame's; H.264 needs even sides, so an odd one has its last line repeated.
    """

    def __init__(self, path: Path, like: SourceInfo) -> None:
        self._codec = _CODECS[path.suffix.lower()]
        self._like = like
        self._rate = _plain(like.rate or DEFAULT_RATE)
        # Copied sound may begin before 0 with the encoder's primer: Matroska would move the pictures to make room.
        self._container = av.open(str(path), "w", options={"avoid_negative_ts": "disabled"})
        self._stream: VideoStream | None = None
        self._audio: AudioTrack | None = None
        self._held: Frame | None = None
        self._count = 0

    def write(self, frame: Frame) -> None:
        """Take a frame; it is encoded when the next one tells how long it stays.

        Raises OutputError when it has another size, or no later time, than the one before.
        """
        # Exchanged first: an interrupt in the middle then loses a frame at most, and never encodes one twice.
        held, self._held = self._held, frame
        if held is None:
            self._stream = self._start(frame.pixels)
        else:
            self._check(held, frame)
            self._encode(held, Fraction(frame.time))
        self._count += 1

    def finish(self, interrupted: bool) -> None:
        """Complete the file. When interrupted, the audio ends with the pictures."""
        assert self._held is not None and self._stream is not None
        end = self._end(self._held)
        self._encode(self._held, end)
        self._container.mux(self._stream.encode(None))
        if self._audio is not None:
            self._audio.mux_until(float(end) if interrupted else math.inf)
        self._close()

    def abandon(self) -> None:
        """Let go of the file, which is not complete."""
        with suppress(av.FFmpegError, OSError):
            self._close()

    def _close(self) -> None:
        if self._audio is not None:
            self._audio.close()
        self._container.close()

    def _start(self, pixels: Pixels) -> VideoStream:
        stream = self._container.add_stream(self._codec.name, rate=self._rate, options=self._codec.options)
        assert isinstance(stream, VideoStream)
        first = self._picture(pixels)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, self._codec.pixel_format
        context = stream.codec_context
        context.time_base = Fraction(1, self._codec.ticks or _multiple(self._rate.numerator, _TICKS))
        context.flags |= Flags.frame_duration
        for tag in ("colorspace", "color_range", "color_primaries", "color_trc"):
            setattr(context, tag, getattr(first, tag))
        if self._codec.audio and self._like.has_audio and self._like.path:
            self._audio = AudioTrack(self._like.path, self._container, self._codec.audio)
        self._container.start_encoding()
        return stream

    def _picture(self, pixels: Pixels) -> av.VideoFrame:
        return self._codec.convert(_even(pixels) if self._codec.even else pixels)

    def _encode(self, frame: Frame, end: Fraction) -> None:
        assert self._stream is not None
        picture = self._picture(frame.pixels)
        picture.time_base = self._stream.codec_context.time_base
        picture.pts = round(Fraction(frame.time) / picture.time_base)
        picture.duration = round(end / picture.time_base) - picture.pts
        self._container.mux(self._stream.encode(picture))
        if self._audio is not None:
            self._audio.mux_until(float(end))

    def _end(self, last: Frame) -> Fraction:
        """Tell until when the last frame stays: to the source's end if it is the source's last, else one frame."""
        whole = self._count == self._like.frames and self._like.duration
        return max(whole or Fraction(0), Fraction(last.time) + 1 / self._rate)

    def _check(self, held: Frame, frame: Frame) -> None:
        assert self._stream is not None and self._stream.time_base
        (height, width), (rows, columns) = held.pixels.shape[:2], frame.pixels.shape[:2]
        if (rows, columns) != (height, width):
            raise OutputError(
                f"frame {frame.id} is {columns}x{rows} in a video of {width}x{height}; write to a folder instead"
            )
        tick = max(self._stream.time_base, self._stream.codec_context.time_base)
        if round(Fraction(frame.time) / tick) <= round(Fraction(held.time) / tick):
            raise OutputError(
                f"frame {frame.id} at {frame.time:.6f} s is not later than the one before; "
                f"times must increase by {float(tick):.6f} s (.mp4 is the finest)"
            )


def _even(pixels: Pixels) -> Pixels:
    rows, columns = pixels.shape[:2]
    return np.pad(pixels, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")


def _plain(rate: Fraction) -> Fraction:
    """Bring an average over uneven frames to a rate that containers can hold."""
    return max(rate.limit_denominator(_MAX_DENOMINATOR), Fraction(1, _MAX_DENOMINATOR))


def _multiple(number: int, least: int) -> int:
    """Give the first multiple of `number` from `least` on: whole frames then fall on whole ticks."""
    return number * math.ceil(least / number)
