"""The procedural styles: what the denoiser learns to do, each a pure function of one picture.

Patterns repeat every 32 pixels: the denoiser's coarsest grid is 32 pixels, so it can know its place in them. A pattern
that repeated every 8 would be the same in each latent, and the decoder's nearest-neighbour upsampling cannot draw it.
Nothing is random, so the same frame gives the same picture, and near frames give near pictures.
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training import filters as f
from training.filters import Picture, Plane

Rgb8 = NDArray[np.uint8]  # (h, w, 3)

THIRD = 32 / 3  # pixels: three to a period


def pencil(picture: Picture) -> Picture:
    """Soft graphite on white paper: colour dodge of the luma by its blurred negative."""
    plane = f.luma(f.smooth(picture, 1))
    dodge = f.clip(plane / (f.blur(plane, 5) + 0.02))
    shade = 0.82 + 0.18 * f.blur(plane, 2)
    return f.grey(f.clip(dodge**2.6 * shade))


def ink(picture: Picture) -> Picture:
    """Black ink on white: lines, and solid black where it is dark."""
    plane = f.luma(f.smooth(picture, 2))
    solid = f.step(f.blur(plane, 1.5), 0.22, 0.02)
    return f.grey(f.lines(f.local_contrast(plane), 1.3) * solid)


def oil(picture: Picture) -> Picture:
    """Thick strokes: Kuwahara twice, strong colour, light raking over the relief of the paint."""
    paint = f.kuwahara(f.kuwahara(picture, 6), 4)
    paint = f.saturate(f.contrast(paint, 1.12), 1.55)
    dx, dy = f.gradient(f.luma(paint))
    return f.clip(paint + (1.6 * (dx + dy))[..., None])


def watercolour(picture: Picture) -> Picture:
    """Pale washes on paper: flat light colours that pool, darker, along their borders."""
    wash = f.blur(f.kuwahara(f.smooth(picture, 2), 6), 1.0)
    wash = 1 - (1 - f.saturate(wash, 1.35)) * 0.68
    pooled = f.edges(f.luma(wash), 1.5, 8.0)
    return f.clip(wash * (1 - 0.38 * pooled[..., None]) * f.rgb([1.0, 0.99, 0.96]))


def comic(picture: Picture) -> Picture:
    """Flat bright colours, ink lines, and halftone dots (three to 32 pixels) in the shadows."""
    flat = f.smooth(picture, 3)
    plane = f.luma(flat)
    colour = f.saturate(f.posterise(f.contrast(flat, 1.25, 0.45), 5), 1.8)
    x, y = f.grid(plane.shape, THIRD)
    dots = f.step(np.hypot(x, y), 0.5 - 0.55 * f.blur(plane, 2), 0.06)
    shaded = colour * (1 - 0.45 * ((1 - dots) * (1 - f.step(plane, 0.6, 0.05))))[..., None]
    return f.clip(shaded * f.lines(plane, 1.4)[..., None])


def pixel_art(picture: Picture) -> Picture:
    """Squares of 8 pixels in a palette of few strong colours."""
    return f.posterise(f.saturate(f.contrast(f.tiles(picture, 8), 1.2), 1.5), 6, 0.02)


def mosaic(picture: Picture) -> Picture:
    """Glazed tiles, three to 32 pixels, with pale grout, bright at the upper left."""
    x, y = f.grid(picture.shape, THIRD)
    grout = f.step(np.maximum(abs(x), abs(y)), 0.4, 0.02)
    shine = np.clip(-(x + y) * 0.35, -0.2, 0.2)[..., None]
    tile = f.clip(f.saturate(f.cells(picture, f.squares(picture.shape, THIRD)), 1.4) + shine)
    return f.mix(tile, np.full(3, 0.82, np.float32), grout)


def stained_glass(picture: Picture) -> Picture:
    """Bright panes between black leads, in a pattern that repeats every 32 pixels."""
    labels, lead = _panes(*picture.shape[:2])
    glass = f.saturate(f.contrast(f.cells(picture, labels), 1.35), 2.1)
    return f.clip(glass * lead[..., None])


@lru_cache(maxsize=8)
def _panes(height: int, width: int) -> tuple[NDArray[np.int64], Plane]:
    """Labels of the panes and the leads between them (0 on a lead): a Voronoi diagram on a 32-pixel torus."""
    seeds = np.array([[4, 5], [17, 2], [26, 11], [10, 15], [21, 21], [3, 25], [14, 28], [29, 28]])
    rows, columns = np.mgrid[-1 : height // 32 + 2, -1 : width // 32 + 2] * 32
    corners = np.stack([rows.ravel(), columns.ravel()], axis=1)
    points = (corners[:, None] + seeds).reshape(-1, 2)
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    near = np.full((2, height, width), np.inf, np.float32)
    labels = np.zeros((height, width), np.int64)
    for index, (py, px) in enumerate(points):
        far = np.hypot(y - py, x - px)
        labels[far < near[0]] = index
        near = np.sort(np.stack([near[0], near[1], far]), axis=0)[:2]
    return labels, f.step(near[1] - near[0], 1.6, 0.35)


def neon(picture: Picture) -> Picture:
    """Glowing outlines in the picture's own hues on near black."""
    flat = f.smooth(picture, 2)
    line = f.edges(f.local_contrast(f.luma(flat)), 1.2, 9.0) ** 1.5
    hue = f.saturate(f.blur(flat, 3) / (f.blur(flat, 3).max(axis=2, keepdims=True) + 0.05), 3.0)
    light = hue * line[..., None]
    glow = f.blur(light, 5)
    return f.clip(light * 1.1 + glow * 1.1 + f.rgb([0.03, 0.01, 0.08]))


def night(picture: Picture) -> Picture:
    """Moonlight: dark and blue, with lights left warm."""
    plane = f.luma(picture)
    moon = f.ramp(plane**1.4, (0, (3, 6, 18)), (0.5, (28, 52, 104)), (1, (122, 152, 208)))
    dark = f.mix(moon, picture**1.8 * f.rgb([0.35, 0.5, 0.85]), f.rgb([0.35] * 3))
    lamps = f.blur(f.step(plane, 0.86, 0.03), 2)
    return f.clip(dark + lamps[..., None] * f.rgb([0.45, 0.32, 0.12]))


def golden(picture: Picture) -> Picture:
    """Low sun: warm highlights, brown shadows, a soft glow."""
    warm = picture ** f.rgb([0.78, 1.0, 1.55]) * f.rgb([1.1, 0.95, 0.72]) + f.rgb([0.06, 0.02, 0.0])
    glow = f.blur(f.clip(warm - 0.5), 10)
    return f.clip(f.contrast(warm, 1.05, 0.45) + glow * 0.4)


def thermal(picture: Picture) -> Picture:
    """A heat camera: soft luma in black, blue, magenta, orange, yellow, white."""
    heat = f.contrast(f.blur(f.luma(picture), 2.0), 1.15)
    stops = ((0, (4, 4, 40)), (0.25, (72, 8, 150)), (0.45, (196, 24, 130)), (0.65, (248, 110, 24)))
    return f.ramp(heat, *stops, (0.85, (255, 216, 40)), (1.0, (255, 255, 235)))


def emboss(picture: Picture) -> Picture:
    """Grey relief lit from the upper left."""
    dx, dy = f.gradient(f.blur(f.luma(picture), 1.0))
    return f.grey(f.clip(0.5 + np.tanh((dx + dy) * 5) * 0.45))


def sepia(picture: Picture) -> Picture:
    """An old brown print with faded blacks."""
    return f.ramp(f.luma(picture), (0, (42, 26, 14)), (0.5, (156, 118, 78)), (1, (250, 236, 204)))


def monochrome(picture: Picture) -> Picture:
    """Black and white film of high contrast."""
    plane = f.contrast(f.luma(picture), 1.45, 0.48)
    return f.grey(plane * plane * (3 - 2 * plane) * 0.5 + plane * 0.5)


def poster(picture: Picture) -> Picture:
    """A silk-screen poster: cream, red, teal and navy by brightness alone."""
    plane = f.posterise(f.contrast(f.blur(f.luma(f.smooth(picture, 3)), 1.2), 1.3), 4)
    return f.ramp(plane, (0, (22, 30, 60)), (1 / 3, (196, 48, 46)), (2 / 3, (92, 164, 164)), (1, (250, 232, 196)))


def blueprint(picture: Picture) -> Picture:
    """White lines on blue paper with a ruled grid of 32 pixels."""
    plane = f.luma(f.smooth(picture, 2))
    line = f.edges(f.local_contrast(plane), 1.0, 10.0) ** 1.3
    x, y = f.grid(plane.shape, 32)
    ruled = np.maximum(abs(x), abs(y)) > 0.47
    paper = f.rgb([0.06, 0.2, 0.5]) + 0.1 * f.blur(plane, 4)[..., None]
    return f.clip(paper + 0.1 * ruled[..., None] + line[..., None] * f.rgb([0.85, 0.75, 0.5]))


def pastel(picture: Picture) -> Picture:
    """Chalky, light and soft: lifted shadows, pale rose and mint."""
    soft = f.kuwahara(f.blur(picture, 1.0), 6)
    tint = f.ramp(f.luma(soft), (0, (150, 120, 160)), (0.5, (216, 196, 206)), (1, (255, 250, 240)))
    return f.clip(0.5 * tint + 0.5 * (0.42 + 0.58 * f.saturate(soft, 1.6)))


def frost(picture: Picture) -> Picture:
    """Ice: cold blues, with white rime along the edges."""
    plane = f.luma(picture)
    ice = f.ramp(plane, (0, (14, 44, 82)), (0.45, (84, 156, 200)), (1, (240, 252, 255)))
    rime = f.blur(f.edges(plane, 1.0, 8.0), 1.5)
    return f.clip(ice + 0.55 * rime[..., None])


def vaporwave(picture: Picture) -> Picture:
    """Purple to pink to cyan by brightness, with three scan lines to 32 pixels."""
    plane = f.contrast(f.luma(picture), 1.2)
    colour = f.ramp(plane, (0, (28, 8, 70)), (0.35, (150, 30, 160)), (0.65, (255, 96, 176)), (1, (130, 250, 255)))
    _, y = f.grid(plane.shape, THIRD)
    return f.clip(colour * (1 - 0.22 * (y > 0.12))[..., None])


def negative(picture: Picture) -> Picture:
    """Every colour inverted."""
    return 1 - picture


def autumn(picture: Picture) -> Picture:
    """Greens and yellows turned to rust and amber, the rest warmed."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    hue = np.interp(hsv[..., 0], [0, 20, 50, 150, 190, 240, 360], [0, 14, 24, 34, 196, 236, 360])
    hsv[..., 0] = hue
    hsv[..., 1] = f.clip(hsv[..., 1] * 1.35)
    return f.clip(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * f.rgb([1.12, 0.98, 0.78]))


def chalkboard(picture: Picture) -> Picture:
    """White and faintly coloured chalk on a dark green board."""
    flat = f.smooth(picture, 2)
    line = f.edges(f.local_contrast(f.luma(flat)), 1.1, 9.0) ** 1.2
    chalk = f.mix(np.ones(3, np.float32), f.saturate(flat, 1.5), f.rgb([0.35] * 3))
    board = f.rgb([0.09, 0.19, 0.15]) + 0.1 * f.blur(f.luma(flat), 3)[..., None]
    return f.clip(board + chalk * (0.85 * line)[..., None])


def gold(picture: Picture) -> Picture:
    """A golden relief: shape from brightness, polished."""
    plane = f.blur(f.luma(f.smooth(picture, 2)), 0.8)
    dx, dy = f.gradient(plane)
    metal = f.clip(f.contrast(plane, 1.4) * 0.8 + 0.1 + np.tanh((dx + dy) * 5) * 0.4)
    return f.ramp(metal, (0, (36, 16, 2)), (0.35, (140, 84, 14)), (0.65, (226, 170, 52)), (1, (255, 246, 190)))


STYLES: dict[str, Callable[[Picture], Picture]] = {
    "pencil sketch": pencil,
    "ink drawing": ink,
    "oil painting": oil,
    "watercolour": watercolour,
    "comic": comic,
    "pixel art": pixel_art,
    "mosaic": mosaic,
    "stained glass": stained_glass,
    "neon": neon,
    "night": night,
    "golden light": golden,
    "thermal": thermal,
    "emboss": emboss,
    "sepia": sepia,
    "black and white": monochrome,
    "poster": poster,
    "blueprint": blueprint,
    "pastel": pastel,
    "frost": frost,
    "vaporwave": vaporwave,
    "negative": negative,
    "autumn": autumn,
    "chalkboard": chalkboard,
    "gold": gold,
}


def apply(style: str, picture: Rgb8) -> Rgb8:
    """The picture in `style`, a key of STYLES; same size, RGB of 0..255."""
    return f.to_bytes(STYLES[style](picture.astype(np.float32) / 255))
