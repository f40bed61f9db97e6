"""A video file of any container and codec as a source."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av
import numpy as np
from av.codec import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from millstream.errors import BadInputError
from millstream.frame import Frame, Pixels
from millstream.media.base import DEFAULT_RATE, MAX_PIXELS, Source, SourceInfo, check_size
from millstream.media.colour import to_rgb
from millstream.media.containers import open_container, origin, video_stream

_ALPHA_DECODERS: dict[str, Literal["libvpx", "libvpx-vp9"]] = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_CUT_SECONDS = Fraction(1, 2)


class VideoSource(Source):
    """The frames of a video file, turned upright, with square pixels, alpha over white.

    Times are the file's own, from the start of its earliest stream; one that is missing or runs backwards is the one
    before plus a frame. A file that ends too early gives the frames that it has and then raises BadInputError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.info = _probe(path)

    def __iter__(self) -> Iterator[Frame]:
        with open_container(self._path) as container:
            reading = _Reading(container, self._path)
            clock = _Clock(reading.tick, origin(container), self.info.rate)
            count = 0
            for picture in reading:
                yield Frame(count, _shown(picture, reading.aspect, self._path), clock.time(picture))
                count += 1
            if reading.is_cut():
                raise BadInputError(f"{self._path}: ends too early, {count} frames could be read; copy the file again")


class _Reading:
    """The decoded pictures of a container; afterwards it knows whether the file ended before its time."""

    def __init__(self, container: InputContainer, path: Path) -> None:
        self._container = container
        self._stream = video_stream(container, path)
        check_size(self._stream.width, self._stream.height, path)
        self._decoder = _decoder(self._stream)
        self._broken = False
        self._end = Fraction(0)
        self.aspect = self._stream.sample_aspect_ratio or Fraction(1)
        # Pictures that come out at the end, with no packet, do not know their own time base.
        self.tick = self._stream.time_base or Fraction(1, av.time_base)

    def __iter__(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            self._end = max(self._end, _end(packet))
            if packet.stream is self._stream:
                yield from self._decode(packet)

    def is_cut(self) -> bool:
        """Whether the last picture was damaged, or the header promises more than the file holds.

        Damage in the middle is not held against a file: recordings have it, and players go on.
        """
        return self._broken or self._is_short_of_index() or self._is_short_of_duration()

    def _packets(self) -> "Iterator[Packet[Stream]]":
        try:
            yield from self._container.demux()
        except av.FFmpegError:
            self._broken = True

    def _decode(self, packet: "Packet[Stream]") -> list[av.VideoFrame]:
        try:
            pictures = self._decoder.decode(packet if packet.size else None)
        except av.FFmpegError:
            self._broken = True
            return []
        if packet.size:
            self._broken = packet.is_corrupt
        return pictures

    def _is_short_of_index(self) -> bool:
        return any(entry.pos + entry.size > self._container.size for entry in self._stream.index_entries)

    def _is_short_of_duration(self) -> bool:
        # Only Matroska writes the end of the last packet into its header; elsewhere the duration may be an estimate.
        if "matroska" not in self._container.format.name or not self._container.duration:
            return False
        return Fraction(self._container.duration, av.time_base) - self._end > _CUT_SECONDS


class _Clock:
    """Time stamps in ticks to seconds from the origin, always increasing."""

    def __init__(self, tick: Fraction, origin: Fraction, rate: Fraction | None) -> None:
        self._tick, self._origin = tick, origin
        self._step = 1 / (rate or DEFAULT_RATE)
        self._last = -self._step

    def time(self, picture: av.VideoFrame) -> float:
        """Give the presentation time of the next picture in seconds."""
        time = self._last + self._step
        if picture.pts is not None:
            stamped = picture.pts * self._tick - self._origin
            time = stamped if stamped > self._last else time
        self._last = time
        return float(time)


def _probe(path: Path) -> SourceInfo:
    """Read the header, and the first picture, which alone knows its rotation."""
    with open_container(path) as container:
        reading = _Reading(container, path)
        first = next(iter(reading), None)
        if first is None:
            raise BadInputError(f"{path}: no frame can be decoded; copy the file again or convert it to H.264")
        height, width = _shown(first, reading.aspect, path).shape[:2]
        stream = video_stream(container, path)
        rate = stream.average_rate or stream.guessed_rate or None
        length = _duration(container, stream)
        return SourceInfo(
            width=width,
            height=height,
            rate=rate,
            frames=stream.frames or _estimate(container, rate),
            path=path,
            has_audio=bool(container.streams.audio),
            duration=length,
        )


def _duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if not stream.duration or not stream.time_base:
        return None
    return ((stream.start_time or 0) + stream.duration) * stream.time_base - origin(container)


def _estimate(container: InputContainer, rate: Fraction | None) -> int | None:
    if not container.duration or not rate:
        return None
    return round(Fraction(container.duration, av.time_base) * rate)


def _decoder(stream: VideoStream) -> VideoCodecContext:
    """Choose the decoder: FFmpeg's own for VP8 and VP9 leaves alpha out, the reference decoder reads it."""
    context: VideoCodecContext = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and context.name in _ALPHA_DECODERS:
        context = CodecContext.create(_ALPHA_DECODERS[context.name], "r")
        context.extradata = stream.codec_context.extradata
    context.options = {"max_pixels": str(MAX_PIXELS)}
    context.thread_type = "AUTO"
    return context


def _shown(picture: av.VideoFrame, aspect: Fraction, path: Path) -> Pixels:
    """Make pixels square by enlarging the short way, then turn the picture upright."""
    width = round(picture.width * max(aspect, Fraction(1)))
    height = round(picture.height / min(aspect, Fraction(1)))
    check_size(width, height, path)
    try:
        pixels = to_rgb(picture, width, height)
    except av.FFmpegError:
        raise BadInputError(f"{path}: pixels of kind {picture.format.name} cannot be read; convert to H.264") from None
    return _upright(pixels, picture)


def _upright(pixels: Pixels, picture: av.VideoFrame) -> Pixels:
    """Apply the display matrix, which maps (x, y) to (a*x + c*y, b*x + d*y): quarter turns and mirrors."""
    matrix = cast(SideDataContainer, picture.side_data).get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _end(packet: "Packet[Stream]") -> Fraction:
    return ((packet.pts or 0) + (packet.duration or 0)) * (packet.time_base or Fraction(1))
