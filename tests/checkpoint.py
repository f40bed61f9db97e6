"""The original Stable Diffusion layout of a tiny model: diffusers' names turned back into those of a checkpoint."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
OPEN_CLIP = {  # SDXL's second text encoder
    "embeddings.token_embedding": "token_embedding",
    "embeddings.position_embedding.weight": "positional_embedding",
    "encoder.layers": "transformer.resblocks",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
    "final_layer_norm": "ln_final",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write(folder: Path, file: Path, text: bool = True) -> Path:
    """Write the model in `folder` (one layer a block, four autoencoder levels) as one checkpoint."""
    unet = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    vae = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    weights = {f"model.diffusion_model.{unet_name(name, unet)}": value for name, value in unet.items()}
    weights |= {f"first_stage_model.{vae_name(name)}": vae_value(name, value) for name, value in vae.items()}
    is_xl = (folder / "text_encoder_2").exists()
    if text:
        place = "conditioner.embedders.0" if is_xl else "cond_stage_model"
        encoder = load_file(folder / "text_encoder" / "model.safetensors")
        weights |= {f"{place}.transformer.text_model.{name}": value for name, value in encoder.items()}
    if text and is_xl:
        second = open_clip(load_file(folder / "text_encoder_2" / "model.safetensors"))
        weights |= {f"conditioner.embedders.1.model.{name}": value for name, value in second.items()}
    save_file({name: value.contiguous() for name, value in weights.items()}, file, metadata={"format": "pt"})
    return file


def open_clip(encoder: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values are one matrix there, and the projection lies the other way round."""
    found = {"text_projection": encoder.pop("text_projection.weight").T}
    for name in sorted(encoder):
        place = name.removeprefix("text_model.")
        for ours, theirs in OPEN_CLIP.items():
            place = place.replace(ours, theirs)
        if ".q_proj." in name:
            three = [encoder[name.replace(".q_proj.", f".{which}_proj.")] for which in "qkv"]
            found[place.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(three)
        elif ".k_proj." not in name and ".v_proj." not in name:
            found[place] = encoder[name]
    return found


def unet_name(name: str, unet: dict[str, Tensor]) -> str:
    for ours, theirs in UNET.items():
        if name.startswith(f"{ours}."):
            return resnet_name(name.replace(ours, theirs, 1))
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)
    assert found, name
    side, block, kind, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if kind == "downsamplers":
        return f"input_blocks.{2 * block + 2}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        attends = any(other.startswith(f"up_blocks.{block}.attentions.") for other in unet)
        return f"output_blocks.{2 * block + 1}.{2 if attends else 1}.{rest}"
    place = f"input_blocks.{2 * block + layer + 1}" if side == "down" else f"output_blocks.{2 * block + layer}"
    return resnet_name(f"{place}.{0 if kind == 'resnets' else 1}.{rest}")


def resnet_name(name: str) -> str:
    for ours, theirs in RESNET.items():
        if re.search(rf"blocks?\.\d+\.\d+\.{ours}\.|middle_block\.\d\.{ours}\.", name):
            return name.replace(ours, theirs)
    return name


def vae_name(name: str) -> str:
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda found: f"up.{3 - int(found[1])}.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{3 - int(found[1])}.upsample", name)
    name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    for ours, theirs in VAE_ATTENTION.items():
        name = name.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
    return name


def vae_value(name: str, value: Tensor) -> Tensor:
    """Attention of the original autoencoder is made of 1x1 convolutions."""
    linear = "attentions" in name and name.endswith("weight") and "group_norm" not in name
    return value[:, :, None, None] if linear else value
