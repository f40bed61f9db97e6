"""Building blocks of the procedural styles: small deterministic image operations on float RGB pictures in [0, 1]."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[Any]  # float32; OpenCV's types do not say so
Picture = Field  # (h, w, 3), RGB, [0, 1]
Plane = Field  # (h, w), [0, 1]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _f32(values: Any) -> Field:
    return np.asarray(values, np.float32)


def rgb(values: Sequence[float]) -> Field:
    """Three channels' values."""
    return np.array(values, np.float32)


def clip(image: Field) -> Field:
    """Values held in [0, 1]."""
    return _f32(np.clip(image, 0, 1))


def to_bytes(image: Field) -> NDArray[np.uint8]:
    """[0, 1] to 0..255."""
    return np.asarray(np.rint(clip(image) * 255), np.uint8)


def luma(picture: Picture) -> Plane:
    """Rec. 601 luma of a picture."""
    return _f32(picture @ LUMA)


def grey(plane: Plane) -> Picture:
    """The plane as a grey picture."""
    return np.repeat(plane[..., None], 3, axis=2)


def blur(image: Field, sigma: float) -> Field:
    """Gaussian blur with standard deviation `sigma` in pixels."""
    return _f32(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def step(plane: Plane, edge: float | Plane, softness: float) -> Plane:
    """A logistic step at `edge`: hard thresholds flicker on video, soft ones do not."""
    return _f32(1 / (1 + np.exp(np.clip((edge - plane) / softness, -30, 30))))


def mix(low: Field, high: Field, share: Field) -> Picture:
    """Linear blend, `share` of `high`; a plane as share is spread over the channels."""
    share = share[..., None] if share.ndim == 2 else share
    return _f32(low + (high - low) * share)


def saturate(picture: Picture, amount: float) -> Picture:
    """Colourfulness about the grey axis: 0 is grey, 1 is unchanged."""
    return clip(mix(grey(luma(picture)), picture, np.full(3, amount, np.float32)))


def contrast(image: Field, amount: float, pivot: float = 0.5) -> Field:
    """Linear contrast about `pivot`, clipped to [0, 1]."""
    return clip((image - pivot) * amount + pivot)


def local_contrast(plane: Plane) -> Plane:
    """Light evened out over 32-pixel neighbourhoods, so that line drawings see dark regions too."""
    mean = blur(plane, 32)
    spread = np.sqrt(blur((plane - mean) ** 2, 32)) + 0.08
    return clip(0.5 + (plane - mean) / spread * 0.22)


def gradient(plane: Plane) -> tuple[Plane, Plane]:
    """Horizontal and vertical Sobel derivatives, in units of luma per pixel."""
    dx, dy = (cv2.Sobel(plane, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return _f32(dx), _f32(dy)


def edges(plane: Plane, sigma: float = 1.2, gain: float = 6.0) -> Plane:
    """Edge strength in [0, 1]: saturating magnitude of the blurred gradient."""
    dx, dy = gradient(blur(plane, sigma))
    return _f32(np.tanh(gain * np.hypot(dx, dy)))


def lines(plane: Plane, sigma: float = 1.1, sharpness: float = 18.0) -> Plane:
    """Ink lines, 1 on paper and 0 on ink: the extended difference of Gaussians (Winnemoeller et al. 2012)."""
    response = 1.0 * blur(plane, sigma) - 0.97 * blur(plane, sigma * 1.6)
    return clip(1 + np.tanh(sharpness * np.minimum(response - 0.004, 0) * 4))


def smooth(picture: Picture, rounds: int = 3) -> Picture:
    """Flat regions with kept edges: repeated bilateral filtering."""
    for _ in range(rounds):
        picture = _f32(cv2.bilateralFilter(picture, 7, 0.12, 4.0))
    return picture


def kuwahara(picture: Picture, radius: int = 4) -> Picture:
    """Painterly smoothing: a blend of eight sector means, weighted by evenness (Papari et al. 2007, after Kuwahara)."""
    sigma = radius / 2.5
    mean, square = blur(picture, sigma), blur(picture * picture, sigma)
    spread = np.clip(square - mean * mean, 0, None).sum(axis=2)
    weight = 1 / (1e-4 + spread) ** 2
    stack = np.dstack([mean * weight[..., None], weight])
    padded = cv2.copyMakeBorder(stack, radius, radius, radius, radius, cv2.BORDER_REFLECT_101)
    total = np.sum([_shifted(padded, radius, angle) for angle in np.arange(8) * np.pi / 4], axis=0)
    return _f32(total[..., :3] / total[..., 3:])


def _shifted(padded: Field, radius: int, angle: float) -> Field:
    """The picture inside its border of `radius` pixels, moved by 0.7 radius in the direction `angle`."""
    top, left = (radius + round(0.7 * radius * float(wave)) for wave in (np.sin(angle), np.cos(angle)))
    return padded[top : top + padded.shape[0] - 2 * radius, left : left + padded.shape[1] - 2 * radius]


def posterise(picture: Field, levels: int, softness: float = 0.06) -> Field:
    """Each channel in `levels` flat steps with soft risers."""
    scaled = picture * (levels - 1)
    base = np.floor(scaled)
    rise = step(_f32(scaled - base), 0.5, softness)
    return _f32((base + rise) / (levels - 1))


def ramp(plane: Plane, *stops: tuple[float, tuple[int, int, int]]) -> Picture:
    """Colours of a gradient map: `stops` are (position, RGB of 0..255), linear between them."""
    places = [place for place, _ in stops]
    channels = [np.interp(plane, places, [colour[c] / 255 for _, colour in stops]) for c in range(3)]
    return _f32(np.stack(channels, axis=2))


def tiles(picture: Picture, side: int) -> Picture:
    """Mean colour of each `side` by `side` tile, anchored at the top left corner."""
    height, width = picture.shape[:2]
    rows, columns = -(-height // side), -(-width // side)
    padded = np.pad(picture, ((0, rows * side - height), (0, columns * side - width), (0, 0)), "edge")
    means = padded.reshape(rows, side, columns, side, 3).mean(axis=(1, 3))
    return _f32(means.repeat(side, 0).repeat(side, 1)[:height, :width])


def squares(shape: tuple[int, ...], period: float) -> NDArray[np.int64]:
    """Labels of the squares of `period`, which need not be a whole number of pixels."""
    y, x = ((np.arange(length) + 0.5) // period for length in shape[:2])
    return np.asarray(y[:, None] * len(np.unique(x)) + x, np.int64)


def cells(picture: Picture, labels: NDArray[np.int64]) -> Picture:
    """Mean colour of each labelled cell."""
    counts = np.maximum(np.bincount(labels.ravel()), 1)
    sums = [np.bincount(labels.ravel(), picture[..., c].ravel()) for c in range(3)]
    return _f32(np.stack([(s / counts)[labels] for s in sums], axis=2))


def grid(shape: tuple[int, ...], period: float) -> tuple[Field, Field]:
    """Pixel coordinates of a picture of `shape` within a square of `period`, centred on 0, in units of the period."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + 0.5
    return (x % period) / period - 0.5, (y % period) / period - 0.5
