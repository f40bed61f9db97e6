"""Low-rank adapters, fused into the weights: W + scale * alpha/rank * up @ down (LoRA, arXiv 2106.09685, section 4.1).

The files of kohya's trainer, peft and diffusers are read, all through diffusers.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
from diffusers import UNet2DConditionModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import CLIPTextModel

from millstream.errors import ModelError
from millstream.models.files import fetch, first_line, refuse_pickle
from millstream.params import Lora

HUB_FILE = "pytorch_lora_weights.safetensors"
DOWN = re.compile(r"lora_A\.|down\.weight$")
TITLES = ("modelspec.title", "ss_output_name")
FAULTS = (OSError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError)


def fuse(unet: UNet2DConditionModel, text_encoders: Sequence[CLIPTextModel], adapters: Sequence[Lora]) -> bool:
    """Fuse the adapters one after the other; tell whether one of them makes the model a consistency model.

    Raises ModelError where an adapter cannot be read, or was made for another model.
    """
    found = [_fuse_one(unet, text_encoders, adapter) for adapter in adapters]
    return any(found)


def is_lcm(name: str, keys: Collection[str], metadata: Mapping[str, str]) -> bool:
    """Recognise an LCM-LoRA by its name or title, or else by what it trains.

    LCM-LoRA (arXiv 2311.05556) trains the resnets' `time_emb_proj` and never the text encoder; so do some styles
    made with kohya's trainer, but that leaves `ss_` entries in the metadata.
    """
    titles = [name, *(metadata.get(title, "") for title in TITLES)]
    if any("lcm" in title.lower() for title in titles):
        return True
    trains_text = any(key.startswith(("lora_te", "text_encoder")) for key in keys)
    by_kohya = any(entry.startswith("ss_") for entry in metadata)
    return any("time_emb_proj" in key for key in keys) and not trains_text and not by_kohya


def fold_alphas(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply kohya's alpha/rank into `up`, layer by layer, and leave alpha out.

    diffusers 0.42 takes one layer's alpha for another's where they differ.
    """
    folded = {name: value for name, value in weights.items() if not name.endswith(".alpha")}
    for name in weights.keys() - folded.keys():
        layer = name.removesuffix(".alpha")
        rank = len(weights[f"{layer}.lora_down.weight"])
        folded[f"{layer}.lora_up.weight"] = weights[f"{layer}.lora_up.weight"].float() * (weights[name].item() / rank)
    return folded


def _fuse_one(unet: UNet2DConditionModel, text_encoders: Sequence[CLIPTextModel], adapter: Lora) -> bool:
    file = _find(adapter.path)
    try:
        weights, metadata = _read(file)
        pipeline = _pipeline(unet, text_encoders)
        if any(name.endswith(".alpha") for name in weights):
            pipeline.load_lora_weights(fold_alphas(weights))
        else:  # peft's alpha stands in the file's metadata, which diffusers reads itself
            pipeline.load_lora_weights(file.parent, weight_name=file.name, use_safetensors=True)
        _check_all_found((unet, *text_encoders), weights)
        pipeline.fuse_lora(lora_scale=adapter.scale, safe_fusing=True)
        pipeline.unload_lora_weights()
    except FAULTS as error:
        raise ModelError(f"lora {adapter.path}: {first_line(error)}; use one made for this model") from error
    return is_lcm(Path(adapter.path).name, weights, metadata)


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118


def _pipeline(unet: UNet2DConditionModel, text_encoders: Sequence[CLIPTextModel]) -> Any:
    """Make what diffusers fuses adapters through: a pipeline, here without the parts that no adapter touches."""
    absent = dict.fromkeys(("vae", "tokenizer", "scheduler", "feature_extractor"))
    if len(text_encoders) == 1:
        return diffusers.StableDiffusionPipeline(
            unet=unet, text_encoder=text_encoders[0], safety_checker=None, requires_safety_checker=False, **absent
        )
    first, second = text_encoders
    return diffusers.StableDiffusionXLPipeline(
        unet=unet, text_encoder=first, text_encoder_2=second, tokenizer_2=None, **absent
    )


def _check_all_found(parts: Sequence[nn.Module], keys: Collection[str]) -> None:
    trained = sum(bool(DOWN.search(key)) for key in keys)
    found = sum(isinstance(module, BaseTunerLayer) for part in parts for module in part.modules())
    if not trained or found < trained:
        raise ValueError(f"this model has {found} of the {trained} layers it changes")


def _find(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        refuse_pickle(path)
        return path
    files = sorted(fetch(name, [HUB_FILE]).glob("*.safetensors"))
    if len(files) != 1:
        raise ModelError(f"lora {name}: {len(files)} .safetensors files in it; give the file itself")
    return files[0]
