"""Prompts to conditioning: tokens, embeddings, blends, and what the network makes of them ahead of time."""

import warnings
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import CLIPTextModel
from transformers.models.clip import CLIPTokenizer

from millstream.core.rows import Conditioning
from millstream.models.denoiser import UNetDenoiser
from millstream.models.vocabulary import Vocabulary
from millstream.params import Blend, WeightedPrompt

KEPT_PROMPTS = 32
KEPT_BLENDS = 8  # each holds every layer's keys and values: about 4 MB for SD 1.5 in float16
GUIDANCE_TIME = 1000.0


class TextEncoder:
    """CLIP's last hidden states of a prompt, at the model's own length. The last prompts are kept."""

    def __init__(self, tokenizer: CLIPTokenizer, encoder: CLIPTextModel, vocabulary: Vocabulary | None = None) -> None:
        """`vocabulary` lists the words of a small model; prompts with others give a warning with the nearest."""
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._lock = Lock()  # a fast tokenizer must not be called from two threads at once
        self.length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
        self.encode = lru_cache(KEPT_PROMPTS)(self._encode)

    def blend(self, prompts: Sequence[WeightedPrompt]) -> Float[Tensor, "1 length width"]:
        """Mix prompts linearly; their weights are normalised to sum to 1."""
        weights = torch.tensor([prompt.weight for prompt in prompts])
        encoded = torch.cat([self.encode(prompt.text) for prompt in prompts])
        mixed = torch.einsum("p,pld->ld", (weights / weights.sum()).to(encoded.device), encoded.float())
        return mixed[None].to(encoded.dtype)

    def _encode(self, text: str) -> Float[Tensor, "1 length width"]:
        if self._vocabulary and (hint := self._vocabulary.hint(text)):
            warnings.warn(hint, stacklevel=2)
        tokens = self._tokens(text).to(self._encoder.device)
        embeddings: Tensor = self._encoder(tokens).last_hidden_state
        return embeddings

    def _tokens(self, text: str) -> Int[Tensor, "1 length"]:
        """Token numbers, padded to the model's length, cut there with a warning that says what was cut."""
        with self._lock:
            padded = self._tokenizer(text, padding="max_length", max_length=self.length, truncation=True)
            whole = self._tokenizer(text, verbose=False)["input_ids"]
            cut = self._tokenizer.decode(whole[self.length - 1 : -1])
        if cut:
            warnings.warn(f"prompt: this model reads {self.length} tokens; cut off: {cut!r}", stacklevel=2)
        return torch.tensor([padded["input_ids"]])


class Conditioner:
    """All that a row is conditioned on, computed when a prompt changes and never per frame."""

    def __init__(self, text: TextEncoder, denoiser: UNetDenoiser) -> None:
        self._text = text
        self._denoiser = denoiser
        self._of_blend = lru_cache(KEPT_BLENDS)(self._compute)

    def __call__(self, prompt: Blend, guidance_scale: float) -> Conditioning:
        """One row: `prompt` (1, L, D), `keys.<i>` and `values.<i>` (1, L, inner), and `timestep_cond` (1, width).

        The last is there only where the UNet was distilled to take the guidance scale. Do not write into them.
        """
        cond = dict(self._of_blend(tuple(prompt)))
        if width := self._denoiser.guidance_width:
            cond["timestep_cond"] = guidance_embedding(guidance_scale, width).to(cond["prompt"])
        return cond

    def _compute(self, prompt: Blend) -> Conditioning:
        embeddings = self._text.blend(prompt)
        return {"prompt": embeddings} | self._denoiser.precompute(embeddings)


def guidance_embedding(guidance_scale: float, width: int) -> Float[Tensor, "1 width"]:
    """Sinusoidal embedding of w = scale - 1 (LCM, arXiv 2310.04378, section 4.2), to the bit as diffusers has it."""
    half = width // 2
    frequencies = torch.exp(torch.arange(half) * -(torch.tensor(10_000.0).log() / (half - 1)))
    angles = torch.tensor([guidance_scale - 1]) * GUIDANCE_TIME * frequencies
    return torch.cat([angles.sin(), angles.cos(), torch.zeros(width % 2)])[None]
