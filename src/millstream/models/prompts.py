"""The networks of a prompt: what reads it, and what the UNet makes of it ahead of time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

States = Float[Tensor, "1 length width"]
Pooled = Float[Tensor, "1 pooled"]
Sizes = Float[Tensor, "1 6"]


class Reader(nn.Module):
    """The CLIP of Stable Diffusion 1.x and 2.x: its last hidden states, and nothing pooled."""

    def __init__(self, clip: "CLIPTextModel") -> None:
        super().__init__()
        self.clip = clip

    def forward(self, tokens: Int[Tensor, "1 length"]) -> tuple[States, Pooled]:
        """Read the numbers of the tokens."""
        states: Tensor = self.clip(tokens).last_hidden_state
        return states, states[:, 0, :0]


class PairReader(nn.Module):
    """The two CLIPs of Stable Diffusion XL (arXiv 2307.01952, section 2.1), each with tokens of its own.

    The hidden states are those before the last, side by side; what is pooled is the second's, projected.
    """

    def __init__(self, first: "CLIPTextModel", second: "CLIPTextModelWithProjection") -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, tokens: Int[Tensor, "2 length"]) -> tuple[States, Pooled]:
        """Read the numbers of the tokens, a row for each."""
        first = self.first(tokens[:1], output_hidden_states=True)
        second = self.second(tokens[1:], output_hidden_states=True)
        return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1), second.text_embeds


class TextAdded(nn.Module):
    """What joins the time embedding is made of the hidden states: the UNet's `addition_embed_type` "text"."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, states: States, pooled: Pooled, sizes: Sizes) -> Float[Tensor, "1 channels"]:
        """Embed."""
        added: Tensor = self.embedding(states)
        return added


class PooledAdded(nn.Module):
    """What joins the time embedding is made of what was pooled, and of sizes (SDXL, section 2.2): "text_time"."""

    def __init__(self, embedding: nn.Module, sinusoids: nn.Module) -> None:
        super().__init__()
        self.embedding, self.sinusoids = embedding, sinusoids
        for weight in embedding.parameters():
            # In a mapped file it lies anywhere, and on that hangs the last bit of a product of one row (MKL).
            weight.data = weight.data.clone()

    def forward(self, states: States, pooled: Pooled, sizes: Sizes) -> Float[Tensor, "1 channels"]:
        """Embed."""
        waves = self.sinusoids(sizes.flatten()).reshape(1, -1)
        added: Tensor = self.embedding(torch.cat([pooled, waves.to(pooled.dtype)], -1))
        return added


class PromptNetworks(nn.Module):
    """What turns a prompt into conditioning: a reader, each layer's projections to keys and to values, and the rest."""

    def __init__(self, reader: nn.Module, projections: Sequence[nn.Module], added: nn.Module | None) -> None:
        super().__init__()
        self.reader, self.added = reader, added
        self.projections = nn.ModuleList(projections)

    def forward(self, tokens: Int[Tensor, "encoders length"]) -> tuple[States, Pooled]:
        """Hidden states, and what is pooled; of no width where the model has none."""
        read: tuple[Tensor, Tensor] = self.reader(tokens)
        return read

    def ahead(self, states: States, pooled: Pooled, sizes: Sizes) -> tuple[Tensor, ...]:
        """Keys and values of every layer in turn, (1, length, inner), and last what joins the time embedding, if any.

        `sizes` are height and width of the picture, two zeros for where it was cut, height and width again.
        """
        made = tuple(projection(states) for projection in self.projections)
        return made if self.added is None else (*made, self.added(states, pooled, sizes))


def added_of(unet: Any) -> nn.Module | None:
    """What makes the UNet's addition to its time embedding; None where it has none."""
    kind = unet.config.addition_embed_type
    if kind == "text":
        return TextAdded(unet.add_embedding)
    return PooledAdded(unet.add_embedding, unet.add_time_proj) if kind == "text_time" else None
