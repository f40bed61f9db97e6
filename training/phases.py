"""What a step of the denoiser's training holds: how many examples of which kind, from the first step to the last."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor
from transformers import CLIPTokenizer

from training import loop, text
from training.ahead import ahead
from training.batches import Batch, joined
from training.examples import Drawings, Styles, Texts
from training.fresh import Fresh, fresh


class Drawn(NamedTuple):
    """A batch, its captions as tokens, and the scenes that are new in the bank."""

    batch: Batch
    tokens: Int[Tensor, "b words"]
    fresh: Fresh | None


@dataclass(frozen=True)
class Phase:
    """Up to a share of the plan: examples in styles, from drawings and from texts, in a step.

    `near` is the share of noise levels that are about those of the default strengths.
    """

    until: float
    styles: int
    drawings: int
    texts: int
    near: float


# Whole pictures, as they are run: an example costs no more than where most are windows of 24 latents (22 take 0.5 s, 36
# of those 0.8), and a window hides where in the picture it lies.
ON_CPU = (Phase(1.0, styles=8, drawings=12, texts=3, near=0.9),)
ON_GPU = (Phase(1.0, styles=60, drawings=140, texts=50, near=0.85),)  # by tens: see batches.assemble
PHASES = ON_GPU if loop.GPU else ON_CPU
FRESH = 6 if loop.GPU else 0  # scenes drawn anew in a step
WORKERS = max(1, (os.cpu_count() or 1) - 2) if loop.GPU else 0  # a CPU has no time to spare


class Steps:
    """The batch of every step; that of step k depends on (SEED, k) alone."""

    def __init__(self, steps: int, words: CLIPTokenizer, styles: Styles, drawings: Drawings, texts: Texts) -> None:
        self.steps, self.words = steps, words
        self.styles, self.drawings, self.texts = styles, drawings, texts

    def __call__(self, step: int) -> Drawn:
        """The batch of step `step`."""
        now = next(phase for phase in PHASES if step < phase.until * self.steps)
        batch = joined(
            (
                self.styles(step, now.styles, now.near),
                self.drawings(step, now.drawings, now.near),
                self.texts(step, now.texts, now.near),
            )
        )
        return Drawn(batch, text.encode(self.words, batch.texts), fresh(step, FRESH) if FRESH else None)

    def begin(self, step: int) -> Iterator[Drawn]:
        """The steps from `step` on, drawn ahead by other processes where a GPU would wait for them."""
        return ahead(self, step, self.steps, WORKERS)
