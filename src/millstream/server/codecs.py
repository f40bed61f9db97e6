"""Pictures to bytes and back, for live use: JPEG, H.264 (Annex B) and VP8, nothing held back, sizes bounded.

A decoder reads a picture's size from its header and refuses a large one before it decodes.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from itertools import islice
from typing import Protocol

import av
import numpy as np
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from PIL import Image, UnidentifiedImageError

from millstream.errors import BadInputError
from millstream.frame import Pixels
from millstream.media.colour import is_hd
from millstream.server.limits import Limits
from millstream.server.protocol import CodecName

QUALITY = 88  # of JPEG
RATE = Fraction(30)  # what the encoders plan their bits for
BITS = 16  # a second and pixel: 4 Mbit/s at 512x512
ENDLESS = "100000"  # pictures between two key pictures that the encoder makes by itself
_SMOOTH = (  # a reformatter that is kept does this in 1 ms at 512x512; a new one for each picture takes 10
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
SCAN, SCANS = b"\xff\xda", 24  # what a scan of a JPEG begins with, and how many one may have: each takes a pass
SLICES = 64  # that a picture of H.264 may have
_SLICE = re.compile(b"\0\0\1[" + re.escape(bytes(b for b in range(256) if 1 <= b & 31 <= 5)) + b"]")
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Encoded:
    """One picture in bytes; a key picture needs none before it."""

    payload: bytes
    key: bool


class Encoder(Protocol):
    """Makes one encoded picture of each."""

    def encode(self, pixels: Pixels, key: bool) -> Encoded:
        """Encode; a key picture if asked for, or if the size has changed."""


class Decoder(Protocol):
    """Reads one encoded picture after the other."""

    def decode(self, payload: bytes) -> Pixels:
        """Decode. Raises BadInputError for what is no picture, is too large, or hangs on one that is missing."""


def encoder(codec: CodecName) -> Encoder:
    """A new encoder."""
    return JpegEncoder() if codec == "jpeg" else VideoEncoder(codec)


def decoder(codec: CodecName, limits: Limits) -> Decoder:
    """A new decoder."""
    return JpegDecoder(limits) if codec == "jpeg" else VideoDecoder(codec, limits)


class JpegEncoder:
    """Every picture stands alone."""

    def encode(self, pixels: Pixels, key: bool) -> Encoded:
        """Encode; always a key picture."""
        target = BytesIO()
        Image.fromarray(pixels).save(target, "JPEG", quality=QUALITY)
        return Encoded(target.getvalue(), True)


class JpegDecoder:
    """Reads baseline and progressive JPEG."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def decode(self, payload: bytes) -> Pixels:
        """Decode to RGB."""
        if payload.count(SCAN) > SCANS:
            raise BadInputError(f"payload: a JPEG of more than {SCANS} scans; send a baseline one")
        try:
            with Image.open(BytesIO(payload), formats=["JPEG"]) as picture:
                _check_size(*picture.size, self._limits)
                return np.array(picture.convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            raise BadInputError("payload: not a JPEG picture; send one whole picture") from None


_ENCODERS: dict[CodecName, tuple[str, dict[str, str]]] = {
    "h264": (
        "libx264",
        {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "crf": "20", "forced-idr": "1"},
    ),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
}


class VideoEncoder:
    """H.264 or VP8 without any delay; a change of size begins anew. Odd sides lose their last line."""

    def __init__(self, codec: CodecName) -> None:
        self._name, self._options = _ENCODERS[codec]
        self._tagged = codec == "h264"
        self._context: VideoCodecContext | None = None
        self._to_yuv = VideoReformatter()
        self._count = 0

    def encode(self, pixels: Pixels, key: bool) -> Encoded:
        """Encode; a key picture if asked for, or if it is the first of its size."""
        height, width = pixels.shape[0] & ~1, pixels.shape[1] & ~1
        context = self._context
        if context is None or (context.width, context.height) != (width, height):
            context = self._context = self._open(width, height)
        picture = self._convert(pixels[:height, :width])
        picture.pts, picture.time_base = self._count, 1 / RATE
        picture.pict_type = PictureType.I if key else PictureType.NONE
        self._count += 1
        (packet,) = context.encode(picture)
        return Encoded(bytes(packet), packet.is_keyframe)

    def _open(self, width: int, height: int) -> VideoCodecContext:
        context = av.CodecContext.create(self._name, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.framerate, context.thread_count = 1 / RATE, RATE, 1
        context.options = self._options | {"g": ENDLESS}
        if self._tagged:
            _tag(context, is_hd(width, height))
        else:
            context.bit_rate = width * height * BITS
        return context

    def _convert(self, pixels: Pixels) -> av.VideoFrame:
        hd = self._tagged and is_hd(pixels.shape[1], pixels.shape[0])  # VP8 carries no tag: players take it for BT.601
        return self._to_yuv.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709 if hd else Colorspace.ITU601,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=_SMOOTH,
        )


class VideoDecoder:
    """H.264 in Annex B, or VP8, each picture out as it goes in."""

    def __init__(self, codec: CodecName, limits: Limits) -> None:
        self._limits = limits
        self._vp8 = codec == "vp8"
        context = av.CodecContext.create(codec, "r")
        assert isinstance(context, VideoCodecContext)
        context.thread_count = 1  # frame threads would hold pictures back
        context.flags |= Flags.low_delay
        context.options = {"max_pixels": str(limits.pixels)}  # refused from the header, before memory is taken
        self._context = context
        self._to_rgb = VideoReformatter()

    def decode(self, payload: bytes) -> Pixels:
        """Decode to RGB."""
        if not self._vp8:
            _check_slices(payload)
        try:
            pictures = self._context.decode(av.Packet(payload))
        except av.FFmpegError:
            raise BadInputError("payload: cannot be decoded, or is too large; begin again with a key picture") from None
        if not pictures:
            raise BadInputError("payload: holds no whole picture; send one picture in each message")
        _check_size(pictures[-1].width, pictures[-1].height, self._limits)
        return self._convert(pictures[-1])

    def _convert(self, picture: av.VideoFrame) -> Pixels:
        hd = not self._vp8 and is_hd(picture.width, picture.height)
        untagged = Colorspace.ITU709 if hd else Colorspace.ITU601
        rgb = self._to_rgb.reformat(
            picture,
            format="rgb24",
            src_colorspace=untagged if picture.colorspace == _UNSPECIFIED or self._vp8 else None,
            dst_color_range=ColorRange.JPEG,
            interpolation=_SMOOTH,
        )
        return rgb.to_ndarray()


def _check_slices(payload: bytes) -> None:
    """Refuse more than one picture: each costs the time of a whole one, and a slice may, in some ten bytes."""
    slices = islice(_SLICE.finditer(payload), SLICES + 1)
    firsts = [payload[found.end() : found.end() + 1] >= b"\x80" for found in slices]  # it begins at macroblock 0
    if sum(firsts) > 1 or len(firsts) > SLICES:
        raise BadInputError(f"payload: send one picture in each message, of at most {SLICES} slices")


def _tag(context: VideoCodecContext, hd: bool) -> None:
    context.colorspace = Colorspace.ITU709 if hd else Colorspace.SMPTE170M
    context.color_range = ColorRange.MPEG
    context.color_primaries = ColorPrimaries.BT709 if hd else ColorPrimaries.SMPTE170M
    context.color_trc = ColorTrc.BT709 if hd else ColorTrc.SMPTE170M


def _check_size(width: int, height: int, limits: Limits) -> None:
    if max(width, height) > limits.side or width * height > limits.pixels:
        most = f"{limits.side} a side and {limits.pixels} pixels"
        raise BadInputError(f"payload: a picture of {width}x{height}; send at most {most}")
