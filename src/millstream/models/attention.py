"""Attention of the UNet: over a row's neighbours, and over keys and values of a prompt computed once.

The conditioning travels as an argument of the call, not as state of the modules, so that a traced graph has it as an
input. Cached keys and values are the pre-computation of StreamDiffusion (arXiv 2312.12491, section 3.6), cross-frame
attention is its section 3.2.
"""

from collections.abc import Sequence

from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from millstream.core.crossframe import NEIGHBOUR_BIAS, NEIGHBOURS, gather, token_bias
from millstream.core.rows import Conditioning
from millstream.errors import ModelError

PLACES = (".attn1.processor", ".attn2.processor")


class SelfAttention:
    """Every row over its own tokens, or over those of its neighbours where the conditioning names them."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "rows tokens d"],
        encoder_hidden_states: None = None,
        attention_mask: None = None,
        conditioning: Conditioning | None = None,
    ) -> Float[Tensor, "rows tokens d"]:
        """Attend. The argument names are diffusers'."""
        query, key, value = _project(attn, hidden_states)
        bias = None
        if conditioning and NEIGHBOURS in conditioning:
            bias = token_bias(conditioning[NEIGHBOUR_BIAS], key.shape[1]).to(query.dtype)
            key, value = (gather(each, conditioning[NEIGHBOURS]) for each in (key, value))
        return _attend(attn, query, key, value, bias)


class PromptAttention:
    """Every row over its prompt; keys and values from the conditioning, or where it has none, from the embeddings."""

    def __init__(self, layer: int) -> None:
        self.layer = layer

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "rows tokens d"],
        encoder_hidden_states: Float[Tensor, "rows length width"],
        attention_mask: None = None,
        conditioning: Conditioning | None = None,
    ) -> Float[Tensor, "rows tokens d"]:
        """Attend. The argument names are diffusers'."""
        cached = conditioning or {}
        if f"keys.{self.layer}" in cached:
            key, value = cached[f"keys.{self.layer}"], cached[f"values.{self.layer}"]
        else:
            key, value = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        return _attend(attn, attn.to_q(hidden_states), key, value, None)


def install(unet: UNet2DConditionModel) -> list[Attention]:
    """Put both kinds of attention into a UNet; give those over the prompt, in the order of their layers.

    Raises ModelError where the UNet has attention of a form that these do not replace.
    """
    others = [name for name in unet.attn_processors if not name.endswith(PLACES)]
    if others:
        raise ModelError(f"model: attention of an unknown form ({others[0]}); use Stable Diffusion 1.x, 2.x or XL")
    over_prompt: list[Attention] = []
    for name in unet.attn_processors:
        attn = unet.get_submodule(name.removesuffix(".processor"))
        attn.set_processor(PromptAttention(len(over_prompt)) if attn.is_cross_attention else SelfAttention())
        if attn.is_cross_attention:
            over_prompt.append(attn)
    return over_prompt


def fuse_projections(unet: UNet2DConditionModel) -> None:
    """Make one matrix product of the three that give a self-attention its queries, keys and values."""
    for name in unet.attn_processors:
        attn = unet.get_submodule(name.removesuffix(".processor"))
        if not attn.is_cross_attention:
            attn.fuse_projections()
            del attn.to_q, attn.to_k, attn.to_v


def _project(
    attn: Attention, hidden_states: Float[Tensor, "rows tokens d"]
) -> Sequence[Float[Tensor, "rows tokens d"]]:
    if attn.fused_projections:
        return attn.to_qkv(hidden_states).chunk(3, -1)  # type: ignore[no-any-return]
    return attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)


def _attend(attn: Attention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    query, key, value = (_split(each, attn.heads) for each in (query, key, value))
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=bias)
    out: Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
    return out


def _split(value: Float[Tensor, "rows tokens d"], heads: int) -> Float[Tensor, "rows heads tokens d_"]:
    rows, tokens, d = value.shape
    return value.view(rows, tokens, heads, d // heads).transpose(1, 2)
