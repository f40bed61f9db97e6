"""Tiny models with random weights, in exact diffusers format: deterministic, and made once per test session.

Each function gives a folder. Weights say nothing; forms are those of the real models: `sd1` of SD 1.5, `sd_turbo` of
sd-turbo, `sd2_v` of a v model with zero terminal SNR, `sdxl_turbo` of sdxl-turbo, `lcm` of a distilled UNet with its
guidance embedding, `small` of a small-latent model with AutoencoderTiny.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

_keep = TemporaryDirectory(prefix="millstream-tiny-", ignore_cleanup_errors=True)
ROOT = Path(_keep.name)

SCALED_LINEAR = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PNDM = SCALED_LINEAR | {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "steps_offset": 1}
TURBO = {  # sd-turbo's own file
    "_class_name": "EulerDiscreteScheduler",
    "_diffusers_version": "0.24.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
    "timestep_type": "discrete",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
ZERO_SNR = SCALED_LINEAR | {
    "_class_name": "DDIMScheduler",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
}
LCM = SCALED_LINEAR | {"_class_name": "LCMScheduler", "original_inference_steps": 50}
GENTLE = {
    "_class_name": "LCMScheduler",
    "beta_start": 1e-4,
    "beta_end": 4e-3,
    "beta_schedule": "linear",
    "prediction_type": "sample",
    "clip_sample": False,
}


@cache
def sd1() -> Path:
    """SD 1.5's form: AutoencoderKL 8-fold with 4 channels, one number of heads, 77 tokens."""
    return make("sd1", unet(), autoencoder_kl(), text_encoder(), PNDM)


@cache
def sd_turbo() -> Path:
    """sd-turbo's form: SD 2.x with head counts per level, linear projections, gelu text encoder."""
    return make("sd-turbo", unet(**SD2), autoencoder_kl(), text_encoder(hidden_act="gelu"), TURBO)


@cache
def sd2_v() -> Path:
    """SD 2.x with v prediction and zero terminal SNR."""
    return make("sd2-v", unet(**SD2), autoencoder_kl(), text_encoder(hidden_act="gelu"), ZERO_SNR)


@cache
def sdxl_turbo() -> Path:
    """sdxl-turbo's form: two text encoders, sizes in the time embedding, deeper attention on lower levels."""
    scheduler = TURBO | {"_class_name": "EulerAncestralDiscreteScheduler"}
    parts = unet(**SDXL), autoencoder_kl(), text_encoder(eos_token_id=2)
    return make("sdxl-turbo", *parts, scheduler, second=text_encoder_2())


@cache
def lcm() -> Path:
    """A distilled UNet that takes the guidance scale as an embedding."""
    return make("lcm", unet(time_cond_proj_dim=20), autoencoder_kl(), text_encoder(), LCM)


@cache
def small() -> Path:
    """A small-latent model: AutoencoderTiny 4-fold with 6 channels, 24 tokens, clean-sample prediction."""
    parts = unet(in_channels=6, out_channels=6, sample_size=8), autoencoder_tiny(channels=6, levels=3)
    return make("small", *parts, text_encoder(max_position_embeddings=24), GENTLE)


@cache
def broken() -> Path:
    """A small-latent model whose numbers are no picture."""
    network = unet(in_channels=6, out_channels=6, sample_size=8)
    network.conv_out.weight.data.fill_(float("nan"))
    parts = network, autoencoder_tiny(channels=6, levels=3)
    return make("broken", *parts, text_encoder(max_position_embeddings=24), GENTLE)


SDXL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "attention_head_dim": [2, 4],
    "use_linear_projection": True,
    "cross_attention_dim": 32 + 40,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24 + 6 * 8,
}
SD2 = {"attention_head_dim": [2, 4], "use_linear_projection": True, "upcast_attention": True}


UNET = {
    "sample_size": 4,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
}


def unet(seed: int = 0, **config: Any) -> UNet2DConditionModel:
    form = UNET | {"attention_head_dim": 4}
    with seeded(seed):
        return UNet2DConditionModel(**form | config).eval()


def autoencoder_kl(channels: int = 4, levels: int = 4, seed: int = 1, **config: Any) -> AutoencoderKL:
    form = {
        "latent_channels": channels,
        "block_out_channels": (8,) * levels,
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "norm_num_groups": 4,
    }
    with seeded(seed), torch.no_grad():
        vae = AutoencoderKL(**form | config).eval()
        vae.quant_conv.weight *= 30  # latents of about unit variance, as in a trained model
        return vae


def autoencoder_tiny(channels: int = 4, levels: int = 4, seed: int = 2, **config: Any) -> AutoencoderTiny:
    form = {
        "latent_channels": channels,
        "encoder_block_out_channels": (8,) * levels,
        "decoder_block_out_channels": (8,) * levels,
        "num_encoder_blocks": (1,) * levels,
        "num_decoder_blocks": (1,) * levels,
    }
    with seeded(seed), torch.no_grad():
        vae = AutoencoderTiny(**form | config).eval()
        vae.encoder.layers[-1].weight *= 10  # so that pictures differ where inputs do
        vae.decoder.layers[-1].weight *= 10
        vae.decoder.layers[-1].bias += 0.5
        return vae


def text_encoder(seed: int = 3, **config: Any) -> CLIPTextModel:
    with seeded(seed):
        return CLIPTextModel(text_config(**config)).eval()


def text_encoder_2(seed: int = 4) -> CLIPTextModelWithProjection:
    """SDXL's second: wider, gelu, its end found as the largest number, and projected to 24."""
    form = {"hidden_size": 40, "hidden_act": "gelu", "projection_dim": 24, "eos_token_id": 2}
    with seeded(seed):
        return CLIPTextModelWithProjection(text_config(**form)).eval()


def text_config(**config: Any) -> CLIPTextConfig:
    form = {
        "vocab_size": len(vocabulary()),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "bos_token_id": len(vocabulary()) - 2,
        "eos_token_id": len(vocabulary()) - 1,
        "pad_token_id": 1,
    }
    return CLIPTextConfig(**form | config)


@cache
def vocabulary() -> dict[str, int]:
    """CLIP's byte-level vocabulary with no merges: every byte, every byte at a word's end, start and end."""
    letters = sorted(_byte_letters())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}


def _byte_letters() -> list[str]:
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [*map(chr, shown), *(chr(256 + place) for place in range(len(hidden)))]


def write_tokenizer(folder: Path, length: int, pad: str = "<|endoftext|>") -> None:
    """The files SD 1.x ships: vocab.json, merges.txt and their configuration."""
    folder.mkdir(parents=True)
    write_json(folder / "vocab.json", vocabulary())
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    end = "<|endoftext|>"
    special = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": pad}
    write_json(folder / "special_tokens_map.json", special)
    form = {"tokenizer_class": "CLIPTokenizer", "model_max_length": length, "do_lower_case": True}
    write_json(folder / "tokenizer_config.json", special | form)


def make(
    name: str,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL | AutoencoderTiny,
    text_encoder: CLIPTextModel,
    scheduler: dict[str, Any],
    root: Path = ROOT,
    second: CLIPTextModelWithProjection | None = None,
) -> Path:
    """Write a model in diffusers format under `root`; of Stable Diffusion XL where it has a second text encoder."""
    folder = root / name
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
    write_tokenizer(folder / "tokenizer", text_encoder.config.max_position_embeddings)
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    index = model_index(type(vae).__name__, scheduler["_class_name"])
    if second is not None:
        second.save_pretrained(folder / "text_encoder_2")
        write_tokenizer(folder / "tokenizer_2", second.config.max_position_embeddings, pad="!")
        index |= XL_INDEX
        del index["safety_checker"], index["requires_safety_checker"]
    write_json(folder / "model_index.json", index)
    return folder


XL_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "force_zeros_for_empty_prompt": True,
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
}


def model_index(vae: str, scheduler: str) -> dict[str, Any]:
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.24.0.dev0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", vae],
    }


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
