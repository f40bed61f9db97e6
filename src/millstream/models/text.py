"""Prompts to conditioning: tokens, embeddings, blends, and what the network makes of them ahead of time."""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn

from millstream.core.rows import Conditioning
from millstream.models.vocabulary import Vocabulary
from millstream.params import Blend, WeightedPrompt

if TYPE_CHECKING:
    from transformers import CLIPTextModel
    from transformers.models.clip import CLIPTokenizer

KEPT_PROMPTS = 32
KEPT_BLENDS = 8  # each holds every layer's keys and values: about 4 MB for SD 1.5 in float16
GUIDANCE_TIME = 1000.0

Prompt = Float[Tensor, "1 length width"]


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


class PromptNetworks(nn.Module):
    """What turns a prompt into conditioning: CLIP, and each layer's projections to keys and to values."""

    def __init__(self, clip: "CLIPTextModel", projections: Sequence[nn.Module]) -> None:
        super().__init__()
        self.clip = clip
        self.projections = nn.ModuleList(projections)

    def forward(self, tokens: Int[Tensor, "1 length"]) -> Prompt:
        """CLIP's last hidden states."""
        states: Tensor = self.clip(tokens).last_hidden_state
        return states

    def project(self, prompt: Prompt) -> tuple[Float[Tensor, "1 length inner"], ...]:
        """Keys and values of every layer in turn."""
        return tuple(projection(prompt) for projection in self.projections)


class Conditioner:
    """All that a row is conditioned on, computed when a prompt changes and never per frame. The last are kept."""

    def __init__(
        self,
        tokens: Tokens,
        networks: PromptNetworks,
        device: torch.device,
        guidance_width: int | None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """`guidance_width` is set where the UNet was distilled to take the guidance scale.

        `vocabulary` lists the words of a small model; prompts with others give a warning with the nearest.
        """
        self.tokens, self.networks, self.guidance_width, self.vocabulary = tokens, networks, guidance_width, vocabulary
        self.device = device
        self._embedded = lru_cache(KEPT_PROMPTS)(self._embed)
        self._of_blend = lru_cache(KEPT_BLENDS)(self._compute)

    def __call__(self, prompt: Blend, guidance_scale: float) -> Conditioning:
        """One row: `prompt` (1, L, D), `keys.<i>` and `values.<i>` (1, L, inner), and `timestep_cond` (1, width).

        The last is there only where the UNet takes the guidance scale. Do not write into them.
        """
        cond = dict(self._of_blend(tuple(prompt)))
        if self.guidance_width:
            cond["timestep_cond"] = guidance_embedding(guidance_scale, self.guidance_width).to(cond["prompt"])
        return cond

    def blend(self, prompts: Sequence[WeightedPrompt]) -> Prompt:
        """Mix prompts linearly; their weights are normalised to sum to 1."""
        weights = torch.tensor([prompt.weight for prompt in prompts])
        encoded = torch.cat([self._embedded(prompt.text) for prompt in prompts])
        mixed = torch.einsum("p,pld->ld", (weights / weights.sum()).to(encoded.device), encoded.float())
        return mixed[None].to(encoded.dtype)

    def _embed(self, text: str) -> Prompt:
        if self.vocabulary and (hint := self.vocabulary.hint(text)):
            warnings.warn(hint, stacklevel=2)
        embeddings: Tensor = self.networks(self.tokens(text).to(self.device))
        return embeddings

    def _compute(self, prompt: Blend) -> Conditioning:
        embeddings = self.blend(prompt)
        names = (f"{kind}.{layer}" for layer in count() for kind in ("keys", "values"))
        return {"prompt": embeddings} | dict(zip(names, self.networks.project(embeddings), strict=False))


def guidance_embedding(guidance_scale: float, width: int) -> Float[Tensor, "1 width"]:
    """Sinusoidal embedding of w = scale - 1 (LCM, arXiv 2310.04378, section 4.2), to the bit as diffusers has it."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(torch.tensor(10_000.0).log() / (half - 1)))
    angles = torch.tensor([guidance_scale - 1]) * GUIDANCE_TIME * frequencies
    return torch.cat([angles.sin(), angles.cos(), torch.zeros(width % 2)])[None]
