"""Prompts to conditioning: tokens, embeddings, blends, and what the network makes of them ahead of time."""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor

from millstream.core.rows import Conditioning
from millstream.models.prompts import Pooled, PromptNetworks, States
from millstream.models.vocabulary import Vocabulary
from millstream.params import Blend, WeightedPrompt

if TYPE_CHECKING:
    from transformers.models.clip import CLIPTokenizer

KEPT_PROMPTS = 32
KEPT_BLENDS = 8  # each holds every layer's keys and values: about 4 MB for SD 1.5 in float16
GUIDANCE_TIME = 1000.0


class Tokens:
    """A CLIP tokenizer: token numbers of a text, padded to `length` with `pad`. `definition` is its own JSON."""

    def __init__(self, definition: str, length: int, pad: int) -> None:
        self.definition, self.length, self.pad = definition, length, pad
        self._tokenizer = Tokenizer.from_str(definition)

    @classmethod
    def of(cls, tokenizer: "CLIPTokenizer", positions: int) -> "Tokens":
        """Of the library's tokenizer, for an encoder that reads so many positions."""
        length = min(tokenizer.model_max_length, positions)
        return cls(tokenizer.backend_tokenizer.to_str(), length, tokenizer.pad_token_id)

    def __call__(self, text: str) -> Int[Tensor, "1 length"]:
        """Token numbers, cut to the length with a warning that says what was cut."""
        found = self._tokenizer.encode(text)
        numbers = found.ids
        if len(numbers) > self.length:
            cut = text[found.offsets[self.length - 1][0] :].strip()
            warnings.warn(f"prompt: this model reads {self.length} tokens; cut off: {cut!r}", stacklevel=2)
            numbers = [*numbers[: self.length - 1], numbers[-1]]
        return torch.tensor([numbers + [self.pad] * (self.length - len(numbers))])


class Conditioner:
    """All that a row is conditioned on, computed when a prompt changes and never per frame. The last are kept."""

    def __init__(
        self,
        tokens: Sequence[Tokens],
        networks: PromptNetworks,
        device: torch.device,
        guidance_width: int | None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """`tokens` are those of each text encoder; `guidance_width` is set where the UNet takes the guidance scale.

        `vocabulary` lists the words of a small model; prompts with others give a warning with the nearest.
        """
        self.tokens, self.networks, self.guidance_width, self.vocabulary = tokens, networks, guidance_width, vocabulary
        self.device = device
        self._embedded = lru_cache(KEPT_PROMPTS)(self._embed)
        self._of_blend = lru_cache(KEPT_BLENDS)(self._compute)

    def __call__(self, prompt: Blend, guidance_scale: float, size: tuple[int, int]) -> Conditioning:
        """One row, for pictures of this width and height.

        `prompt` (1, L, D), `keys.<i>` and `values.<i>` (1, L, inner); where the UNet takes them `added` (1, channels),
        what joins its time embedding, and `timestep_cond` (1, width), the guidance scale. Do not write into them.
        """
        cond = dict(self._of_blend(tuple(prompt), size))
        if self.guidance_width:
            cond["timestep_cond"] = guidance_embedding(guidance_scale, self.guidance_width).to(cond["prompt"])
        return cond

    def blend(self, prompts: Sequence[WeightedPrompt]) -> tuple[States, Pooled]:
        """Mix prompts linearly; their weights are normalised to sum to 1."""
        weights = torch.tensor([prompt.weight for prompt in prompts])
        weights = weights / weights.sum()
        states, pooled = zip(*(self._embedded(prompt.text) for prompt in prompts), strict=True)
        return _mixed(weights, states), _mixed(weights, pooled)

    def numbers(self, text: str) -> Int[Tensor, "encoders length"]:
        """Token numbers for each text encoder."""
        return torch.cat([tokens(text) for tokens in self.tokens]).to(self.device)

    def _embed(self, text: str) -> tuple[States, Pooled]:
        if self.vocabulary and (hint := self.vocabulary.hint(text)):
            warnings.warn(hint, stacklevel=2)
        embedded: tuple[Tensor, Tensor] = self.networks(self.numbers(text))
        return embedded

    def _compute(self, prompt: Blend, size: tuple[int, int]) -> Conditioning:
        states, pooled = self.blend(prompt)
        made = self.networks.ahead(states, pooled, sizes(*size).to(self.device))
        layers = len(made) // 2
        names = [f"{kind}.{layer}" for layer in range(layers) for kind in ("keys", "values")]
        return {"prompt": states} | dict(zip([*names, "added"][: len(made)], made, strict=True))


def sizes(width: int, height: int) -> Float[Tensor, "1 6"]:
    """What SDXL is told of a picture that was neither scaled nor cut: its size, where it was cut, its size."""
    return torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)


def _mixed(weights: Float[Tensor, "prompts"], each: Sequence[Float[Tensor, "1 *d"]]) -> Float[Tensor, "1 *d"]:
    together = torch.cat(list(each))
    mixed: Tensor = torch.tensordot(weights.to(together.device), together.float(), 1)
    return mixed[None].to(together.dtype)


def guidance_embedding(guidance_scale: float, width: int) -> Float[Tensor, "1 width"]:
    """Sinusoidal embedding of w = scale - 1 (LCM, arXiv 2310.04378, section 4.2), to the bit as diffusers has it."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(torch.tensor(10_000.0).log() / (half - 1)))
    angles = torch.tensor([guidance_scale - 1]) * GUIDANCE_TIME * frequencies
    return torch.cat([angles.sin(), angles.cos(), torch.zeros(width % 2)])[None]
