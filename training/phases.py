"""What a step of the denoiser's training holds: how many examples of which kind, from the first step to the last."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor
from transformers import CLIPTokenizer

from training import loop, text
from training.ahead import ahead
from training.batches import Batch, by_size
from training.examples import Drawings, Styles, Texts

Drawn = list[tuple[Batch, Int[Tensor, "b words"]]]  # batches, and their captions as tokens


@dataclass(frozen=True)
class Phase:
    """Up to a share of the plan: examples in styles with the side of their patches in latents, drawings with that of
    theirs, and texts, in a step.

    `near` is the share of noise levels that are about those of the default strengths.
    """

    until: float
    styles: int
    patch: int
    drawings: int
    drawn: int
    texts: int
    near: float


ON_CPU = (  # windows that hold most objects whole: of a part nobody can tell where in the object it lies
    Phase(0.5, styles=4, patch=24, drawings=26, drawn=24, texts=6, near=0.7),
    Phase(1.0, styles=8, patch=32, drawings=12, drawn=32, texts=2, near=0.8),  # whole pictures, as they are run
)
ON_GPU = (  # whole pictures, many at once: calls took long to launch (not profiled). By tens: see batches.assemble
    Phase(0.6, styles=380, patch=32, drawings=380, drawn=32, texts=260, near=0.5),
    Phase(1.0, styles=380, patch=32, drawings=380, drawn=32, texts=260, near=0.8),
)
PHASES = ON_GPU if loop.GPU else ON_CPU
WORKERS = max(1, (os.cpu_count() or 1) - 2) if loop.GPU else 0  # a CPU has no time to spare


class Steps:
    """The batches of every step; those of step k depend on (SEED, k) alone."""

    def __init__(self, steps: int, words: CLIPTokenizer, styles: Styles, drawings: Drawings, texts: Texts) -> None:
        self.steps, self.words = steps, words
        self.styles, self.drawings, self.texts = styles, drawings, texts

    def __call__(self, step: int) -> Drawn:
        """Batches of step `step`, one for each size."""
        now = next(phase for phase in PHASES if step < phase.until * self.steps)
        made = (
            self.styles(step, now.patch, now.styles, now.near),
            self.drawings(step, now.drawn, now.drawings, now.near),
            self.texts(step, now.texts, now.near),
        )
        return [(batch, text.encode(self.words, batch.texts)) for batch in by_size(made)]

    def begin(self, step: int) -> Iterator[Drawn]:
        """The steps from `step` on, drawn ahead by other processes where a GPU would wait for them."""
        return ahead(self, step, self.steps, WORKERS)
