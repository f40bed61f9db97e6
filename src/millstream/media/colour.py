"""Between a codec's pictures and RGB: matrix, range and alpha."""

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from jaxtyping import UInt8
from PIL import Image

from millstream.frame import Pixels

# Without these two, swscale takes chroma of every second pixel and rounds down: colours come out 1 to 2 levels off.
_INTERPOLATION = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_HD_WIDTH, _SD_HEIGHT = 1280, 576


def is_hd(width: int, height: int) -> bool:
    """Whether players take an untagged picture of this size for BT.709, and not for BT.601."""
    return width >= _HD_WIDTH or height > _SD_HEIGHT


def to_rgb(picture: av.VideoFrame, width: int, height: int) -> Pixels:
    """Convert a decoded picture of any pixel format to RGB of width x height; alpha is laid over white.

    Raises av.FFmpegError when the format has no conversion.
    """
    alpha = picture.format.has_palette or any(part.is_alpha for part in picture.format.components)
    pixels = picture.to_ndarray(
        format="rgba" if alpha else "rgb24",
        width=width,
        height=height,
        src_colorspace=_matrix(picture.width, picture.height) if picture.colorspace == _UNSPECIFIED else None,
        dst_color_range=ColorRange.JPEG,
        interpolation=_INTERPOLATION,
    )
    if alpha:
        return over_white(pixels)
    return _full_range(pixels) if _is_limited_grey(picture) else pixels


def over_white(rgba: UInt8[np.ndarray, "h w 4"]) -> Pixels:
    """Lay a picture with straight alpha over white."""
    picture = Image.fromarray(rgba)
    white = Image.new("RGBA", picture.size, "white")
    return np.array(Image.alpha_composite(white, picture).convert("RGB"))


def to_yuv420p(pixels: Pixels) -> av.VideoFrame:
    """Convert RGB to limited-range yuv420p, BT.709 for HD and BT.601 below, and tag it so."""
    rows, columns = pixels.shape[:2]
    picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=_matrix(columns, rows),
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_INTERPOLATION,
    )
    # The transfer curve is named and not converted, as in reading: pictures keep the look that they came with.
    hd = is_hd(columns, rows)
    picture.color_primaries = ColorPrimaries.BT709 if hd else ColorPrimaries.SMPTE170M
    picture.color_trc = ColorTrc.BT709 if hd else ColorTrc.SMPTE170M
    return picture


def to_palette(pixels: Pixels) -> av.VideoFrame:
    """Convert RGB to 256 colours chosen for this picture."""
    image = Image.fromarray(pixels).quantize(256)
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette = np.full((256, 4), 255, np.uint8)
    palette[: len(colours), 1:] = colours
    # PyAV takes the pair; its type hints do not know it.
    return av.VideoFrame.from_ndarray((np.array(image), palette), format="pal8")  # type: ignore[arg-type]


def _matrix(width: int, height: int) -> Colorspace:
    return Colorspace.ITU709 if is_hd(width, height) else Colorspace.ITU601


def _is_limited_grey(picture: av.VideoFrame) -> bool:
    return picture.format.name.startswith("gray") and picture.color_range == ColorRange.MPEG


def _full_range(pixels: Pixels) -> Pixels:
    """Stretch 16..235 to 0..255: swscale does so for colour, and not for grey."""
    stretched: Pixels = np.rint((np.clip(pixels, 16, 235) - 16.0) * (255 / 219)).astype(np.uint8)
    return stretched
