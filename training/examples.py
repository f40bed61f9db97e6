"""What the denoiser is trained on: styles of photographs, scenes from rough drawings, scenes from text alone."""

import numpy as np
from numpy.random import Generator, default_rng

from training import captions, latents, loop, pools, scenes, styles
from training.batches import Batch, Pair, assemble
from training.crops import pick

SEED = 2
NEUTRAL = 0.14  # share of style captions that ask for the picture as it is
KEPT = 0.2  # share of drawings that are asked for as they are
# Of what did not pass, or passed by the least, this share of the examples is drawn alone.
HARD = 0.25
HARD_STYLES = ("comic", "pixel art", "ink drawing")
FEW = ("banana", "palm", "star", "lion", "frog", "tractor", "shield", "pear", "carrot", "soccer ball")
HARD_OBJECTS = latents.TAUGHT if loop.GPU else FEW  # most of all objects are hard yet
FIRST = (499, 499, 739)  # the first steps of strengths 0.5 and 0.75, by how often they are drawn
TOGETHER = 8  # texts of one place


class Styles:
    """Crops of photographs and their styled versions; batch k depends on (SEED, k) alone."""

    def __init__(self, begin: int) -> None:
        """`begin` is the bank's row of the first crop; its styled versions follow it, then the next crop."""
        self.begin = begin
        self.which = np.load(pools.POOL / "which.npy")
        self.names = list(styles.STYLES)
        self.hard = np.argwhere(np.isin(self.which, [self.names.index(name) for name in HARD_STYLES]))

    def __call__(self, step: int, count: int, near: float) -> Batch:
        """`count` pairs."""
        rng = default_rng([SEED, step])
        return assemble([self._pair(rng) for _ in range(count)], FIRST, rng, near)

    def _pair(self, rng: Generator) -> Pair:
        hard = rng.random() < HARD
        index, column = map(int, self.hard[rng.integers(len(self.hard))] if hard else rng.integers(self.which.shape))
        neutral = rng.random() < NEUTRAL
        style = None if neutral else self.names[self.which[index, column]]
        # an already styled picture, asked for as it is, stays as it is
        source = 0 if not neutral or rng.random() < 0.6 else 1 + column
        target = source if neutral else 1 + column
        crop = self.begin + index * (1 + pools.PER_CROP)
        return Pair(crop + source, crop + target, captions.caption(style, rng))


class Drawings:
    """Scenes from rough drawings; those of step k depend on (SEED, k) alone."""

    def __init__(self, begin: int, count: int) -> None:
        """`begin` is the bank's row of the first of `count` scenes; its drawing follows it, then the next scene."""
        self.begin = begin
        self.scenes = [latents.scene(index) for index in range(count)]
        hard = [index for index, scene in enumerate(self.scenes) if scene.obj in HARD_OBJECTS]
        self.hard = np.array(hard or range(count))  # a few scenes may have none

    def __call__(self, step: int, count: int, near: float) -> Batch:
        """`count` scenes."""
        rng = default_rng([SEED, 1, step])
        return assemble([self._pair(rng) for _ in range(count)], FIRST, rng, near)

    def _pair(self, rng: Generator) -> Pair:
        index = int(rng.choice(self.hard) if rng.random() < HARD else rng.integers(len(self.scenes)))
        scene, clean = self.scenes[index], self.begin + 2 * index
        if rng.random() < KEPT:  # flat colours stay flat where nothing is asked
            kept = clean + int(rng.integers(2))
            return Pair(kept, kept, captions.caption(None, rng))
        return Pair(clean + 1, clean, scenes.caption(scene.obj, scene.place, rng), cover=index)


class Texts:
    """Scenes from text alone; those of step k depend on (SEED, k) alone."""

    def __init__(self, begin: int) -> None:
        """`begin` is the bank's row of the first of latents.asked()."""
        self.rows = {asked: begin + row for row, asked in enumerate(latents.asked())}

    def __call__(self, step: int, count: int, near: float) -> Batch:
        """`count` scenes; TOGETHER of one place, so that they differ in the object alone."""
        rng = default_rng([SEED, 2, step])
        pairs = [pair for _ in range(0, count, TOGETHER) for pair in self._group(rng)][:count]
        return assemble(pairs, FIRST, default_rng([SEED, 3, step]), near)

    def _group(self, rng: Generator) -> list[Pair]:
        place = pick((None, *scenes.PLACES), rng)
        taught = HARD_OBJECTS if rng.random() < HARD else latents.TAUGHT
        objects = [*taught, None] if place else [*taught]
        drawn = rng.permutation(len(objects))[:TOGETHER]
        return [self._pair(objects[index], place, rng) for index in drawn]

    def _pair(self, obj: str | None, place: str | None, rng: Generator) -> Pair:
        row = self.rows[obj, place]
        return Pair(row, row, scenes.caption(obj, place, rng), text_only=True)
