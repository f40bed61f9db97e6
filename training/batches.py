"""What the denoiser is trained on: pairs of a source and a target latent, a caption, and the noise levels of a run.

Image to image is trained for as it is run. A run's first step, at SOURCE_FROM or above, starts from the source (a
photograph, a rough drawing, or for text alone pure noise) and aims at the target. Its second step, below, starts from
the network's own first answer, so that it refines and does not style twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from types import EllipsisType

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor

from training import captions, latents, loop, pools, scenes, styles
from training.crops import pick

SEED = 2
NEUTRAL = 0.14  # share of style captions that ask for the picture as it is
SOURCE_FROM = 385  # the lowest timestep of a first step
LAST = 999
STYLE_FIRST = (499, 499, 739)  # the first steps of strengths 0.5 and 0.75, by how often they are drawn
SCENE_FIRST = (499, 739, 739)
TOGETHER = 8  # texts of one place
SINGLE, DOUBLE = 0.5, 0.4  # shares of first and of second steps; the others start from the target itself

Latent = NDArray[np.float16]  # (c, h, w)


@dataclass(frozen=True)
class Pair:
    """One training example: its latents, its caption, and whether text alone asks for it."""

    source: Latent
    target: Latent
    text: str
    text_only: bool = False


@dataclass(frozen=True)
class Batch:
    """Examples, and each one's run: the first step's time, the second's (-1: none), or the target noised (teacher)."""

    source: Float[Tensor, "b c h w"]
    target: Float[Tensor, "b c h w"]
    texts: list[str]
    text_only: Bool[Tensor, "b"]
    first: Int[Tensor, "b"]
    second: Int[Tensor, "b"]
    teacher: Bool[Tensor, "b"]


class Styles:
    """Patches of photographs and their styled versions; batch k depends on (SEED, k) alone."""

    def __init__(self) -> None:
        self.latents = np.load(latents.LATENTS)
        self.which = np.load(pools.POOL / "which.npy")
        self.names = list(styles.STYLES)

    def __call__(self, step: int, patch: int, count: int, near: float) -> Batch:
        """`count` pairs of `patch` by `patch` latents."""
        rng = default_rng([SEED, step])
        return assemble([self._pair(rng, patch) for _ in range(count)], STYLE_FIRST, rng, near)

    def _pair(self, rng: Generator, patch: int) -> Pair:
        index, column = rng.integers(len(self.latents)), rng.integers(pools.PER_CROP)
        neutral = rng.random() < NEUTRAL
        style = None if neutral else self.names[self.which[index, column]]
        window = cut(self.latents.shape[-1], patch, rng)
        # an already styled picture, asked for as it is, stays as it is
        source = 0 if not neutral or rng.random() < 0.6 else 1 + column
        target = source if neutral else 1 + column
        pair = (self.latents[index, source][window], self.latents[index, target][window])
        return Pair(*pair, captions.caption(style, rng))


class Drawings:
    """Scenes from rough drawings; those of step k depend on (SEED, k) alone."""

    def __init__(self) -> None:
        self.drawn = np.load(latents.DRAWN)
        self.scenes = [latents.scene(index) for index in range(len(self.drawn))]

    def __call__(self, step: int, patch: int, count: int, near: float) -> Batch:
        """`count` patches of scenes, each with a part of its object in it."""
        rng = default_rng([SEED, 1, step])
        return assemble([self._pair(rng, patch) for _ in range(count)], SCENE_FIRST, rng, near)

    def _pair(self, rng: Generator, patch: int) -> Pair:
        index = int(rng.integers(len(self.drawn)))
        scene = self.scenes[index]
        clean, drawn = self.drawn[index][around(scene.layout, self.drawn.shape[-1], patch, rng)]
        return Pair(drawn, clean, scenes.caption(scene.obj, scene.place, rng))


class Texts:
    """Scenes from text alone; those of step k depend on (SEED, k) alone."""

    def __init__(self) -> None:
        self.canonical = np.load(latents.CANONICAL)
        self.asked = latents.asked()

    def __call__(self, step: int, count: int, near: float) -> Batch:
        """`count` scenes; TOGETHER of one place, so that they differ in the object alone."""
        rng = default_rng([SEED, 2, step])
        pairs = [pair for _ in range(0, count, TOGETHER) for pair in self._group(rng)][:count]
        return assemble(pairs, SCENE_FIRST, default_rng([SEED, 3, step]), near)

    def _group(self, rng: Generator) -> list[Pair]:
        place = pick((None, *scenes.PLACES), rng)
        objects = [*scenes.OBJECTS, None] if place else [*scenes.OBJECTS]
        drawn = rng.permutation(len(objects))[:TOGETHER]
        return [self._pair(objects[index], place, rng) for index in drawn]

    def _pair(self, obj: str | None, place: str | None, rng: Generator) -> Pair:
        target = self.canonical[self.asked.index((obj, place))]
        return Pair(np.zeros_like(target), target, scenes.caption(obj, place, rng), True)


def cut(side: int, patch: int, rng: Generator) -> tuple[EllipsisType, slice, slice]:
    """A window of `patch` by `patch` latents, on the 32-pixel grid that the styles' patterns keep."""
    top, left = (rng.integers(0, (side - patch) // 4 + 1, 2) * 4).tolist()
    return ..., slice(top, top + patch), slice(left, left + patch)


def around(layout: scenes.Layout, side: int, patch: int, rng: Generator) -> tuple[EllipsisType, slice, slice]:
    """A window of `patch` by `patch` latents about an object: its details are what drawings have to teach."""
    near = np.array([layout.y, layout.x]) + rng.uniform(-0.4, 0.4, 2) * layout.size
    top, left = np.rint(near * side - patch / 2).clip(0, side - patch).astype(int).tolist()
    return ..., slice(top, top + patch), slice(left, left + patch)


def draw_first(rng: Generator, usual: tuple[int, ...], text_only: bool, near: float) -> int:
    """The first step's time: the last one for text alone, else a usual one by the share `near`, else any."""
    if text_only:
        return LAST if rng.random() < 0.7 else int(rng.integers(940, LAST + 1))
    time = rng.choice(usual) + rng.integers(-20, 21)
    return int(time if rng.random() < near else rng.integers(SOURCE_FROM, 960))


def draw_second(rng: Generator, first: int, near: float) -> int:
    """The second step's time: by the share `near` half of the first, as the engine spaces two steps, else any below."""
    half = first // 2 + 5 + rng.integers(-20, 21)
    return int(half if rng.random() < near else rng.integers(20, min(first, 520)))


def assemble(pairs: list[Pair], usual: tuple[int, ...], rng: Generator, near: float) -> Batch:
    """The pairs, each with a run of its own; `near` is the share of times that are nearly those of the engine."""
    first = np.array([draw_first(rng, usual, pair.text_only, near) for pair in pairs])
    second = np.array([draw_second(rng, time, near) for time in first])
    kind = rng.random(len(pairs))
    single, teacher = kind < SINGLE, kind > SINGLE + DOUBLE
    first = np.where(teacher, rng.integers(20, 600, len(pairs)), first)
    return Batch(
        _tensor(np.stack([pair.source for pair in pairs])).float(),
        _tensor(np.stack([pair.target for pair in pairs])).float(),
        [pair.text for pair in pairs],
        _tensor(np.array([pair.text_only for pair in pairs])),
        _tensor(first),
        _tensor(np.where(single | teacher, -1, second)),
        _tensor(teacher),
    )


def by_size(batches: Iterable[Batch]) -> list[Batch]:
    """The batches, those of one size in one: a call costs as much again as six of its examples."""
    sizes: dict[int, list[Batch]] = {}
    for batch in batches:
        sizes.setdefault(batch.source.shape[-1], []).append(batch)
    return [joined(each) for each in sizes.values()]


def joined(batches: list[Batch]) -> Batch:
    """One batch of them all."""
    tensors = {
        field.name: torch.cat([getattr(batch, field.name) for batch in batches])
        for field in fields(Batch)
        if field.name != "texts"
    }
    return Batch(texts=[text for batch in batches for text in batch.texts], **tensors)


def _tensor(array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(array).to(loop.DEVICE)
