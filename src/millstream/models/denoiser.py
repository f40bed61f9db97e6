"""A diffusers UNet as the method's denoiser: rows in, predictions out."""

from typing import Any

from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn

from millstream.core.rows import Conditioning
from millstream.errors import ModelError
from millstream.models.attention import install

UNKNOWN_INPUTS = ("class_embed_type", "encoder_hid_dim_type")


class UNetDenoiser(nn.Module):
    """The UNet with the project's attention in place. A module, so that it can be compiled or exported whole."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        """Take the UNet over. Raises ModelError where it needs inputs other than a prompt."""
        super().__init__()
        _check_inputs(unet.config)
        self.unet = unet
        self._over_prompt = install(unet)
        unet.get_aug_embed = given

    @property
    def channels(self) -> int:
        """Channels of the latents it takes and gives."""
        return int(self.unet.config.in_channels)

    @property
    def factor(self) -> int:
        """Sides of the latents must be multiples of this."""
        return int(2 ** sum(block.downsamplers is not None for block in self.unet.down_blocks))

    @property
    def guidance_width(self) -> int | None:
        """Width of the guidance scale's embedding, where the UNet was distilled to take one."""
        width: int | None = self.unet.config.time_cond_proj_dim
        return width

    def forward(
        self, x: Float[Tensor, "rows c h w"], t: Float[Tensor, "rows"], cond: Conditioning
    ) -> Float[Tensor, "rows c h w"]:
        """Predict; `x` is cast to the model's numbers. See `millstream.core.rows.Denoiser`."""
        prediction: Tensor = self.unet(
            x.to(self.unet.dtype),
            t,
            encoder_hidden_states=cond["prompt"],
            timestep_cond=cond.get("timestep_cond"),
            added_cond_kwargs={"added": cond.get("added")},
            cross_attention_kwargs={"conditioning": cond},
            return_dict=False,
        )[0]
        return prediction

    @property
    def projections(self) -> list[nn.Module]:
        """What makes keys and values of a prompt, layer by layer: `keys.0`, `values.0`, `keys.1` and so on."""
        return [projection for attn in self._over_prompt for projection in (attn.to_k, attn.to_v)]


def given(emb: Tensor, encoder_hidden_states: Tensor, added_cond_kwargs: dict[str, Any]) -> Tensor | None:
    """What joins the time embedding, computed once a prompt. The argument names are diffusers'."""
    added: Tensor | None = added_cond_kwargs["added"]
    return added


def _check_inputs(config: Any) -> None:
    wanted = [name for name in UNKNOWN_INPUTS if config[name] is not None]
    if config["addition_embed_type"] not in (None, "text", "text_time"):
        wanted.append("addition_embed_type")
    if wanted:
        raise ModelError(f"model: its UNet needs {wanted[0]}; use a Stable Diffusion 1.x, 2.x or XL model")
