"""A batch of examples: which latents of the bank, a caption, and the noise levels of a run.

Image to image is trained for as it is run. A run's first step, at SOURCE_FROM or above, starts from the source (a
photograph, a rough drawing, or for text alone pure noise) and aims at the target. Its second step, below, starts from
the network's own first answer, so that it refines and does not style twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from numpy.random import Generator

SOURCE_FROM = 385  # the lowest timestep of a first step
LAST = 999
SINGLE, DOUBLE = 0.4, 0.5  # shares of first and of second steps; the others start from the target itself


@dataclass(frozen=True)
class Pair:
    """One training example: rows of the bank, and the caption.

    `text_only` says that text alone asks for it, `cover` which cover says where a drawing's object is; -1: no drawing.
    """

    source: int
    target: int
    text: str
    text_only: bool = False
    cover: int = -1


@dataclass(frozen=True)
class Batch:
    """Examples, and each one's run: the first step's time, the second's (-1: none), or the target noised (teacher).

    No latents yet: they stay where the network is (training.bank).
    """

    source: Int[np.ndarray, "b"]
    target: Int[np.ndarray, "b"]
    texts: list[str]
    text_only: Bool[np.ndarray, "b"]
    cover: Int[np.ndarray, "b"]
    first: Int[np.ndarray, "b"]
    second: Int[np.ndarray, "b"]
    teacher: Bool[np.ndarray, "b"]


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


def assemble(pairs: Sequence[Pair], usual: tuple[int, ...], rng: Generator, near: float) -> Batch:
    """The pairs, each with a run of its own; `near` is the share of times that are nearly those of the engine.

    A batch has as many of each kind as every other as large, where they are tens; else one more or less.
    """
    first = np.array([draw_first(rng, usual, pair.text_only, near) for pair in pairs])
    second = np.array([draw_second(rng, time, near) for time in first])
    kind = (rng.permutation(len(pairs)) + rng.random()) / len(pairs)
    single, teacher = kind < SINGLE, kind > SINGLE + DOUBLE
    return Batch(
        source=np.array([pair.source for pair in pairs]),
        target=np.array([pair.target for pair in pairs]),
        texts=[pair.text for pair in pairs],
        text_only=np.array([pair.text_only for pair in pairs]),
        cover=np.array([pair.cover for pair in pairs]),
        first=np.where(teacher, rng.integers(20, 600, len(pairs)), first),
        second=np.where(single | teacher, -1, second),
        teacher=teacher,
    )


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of them all: a call costs as much again as six of its examples."""
    names = ("source", "target", "text_only", "cover", "first", "second", "teacher")
    arrays = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in names}
    return Batch(texts=[text for batch in batches for text in batch.texts], **arrays)
