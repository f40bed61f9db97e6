"""Known architectures with random weights, in diffusers' folder form: speed without a download, pictures of nothing.

Sizes are those of the published configurations; the autoencoder is AutoencoderTiny in TAESD's, as the method uses it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import (
    AutoencoderTiny,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.clip import CLIPTokenizer

from millstream.models.quiet import quiet

LENGTH = 77  # tokens of a prompt
SEED = 0
START, END = "<|startoftext|>", "<|endoftext|>"
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@dataclass(frozen=True)
class Form:
    """Configurations of a UNet, of one or (XL) two text encoders and an autoencoder, and the model's scheduler."""

    unet: Mapping[str, Any]
    texts: Sequence[Mapping[str, Any]]
    scheduler: SchedulerMixin
    vae: Mapping[str, Any]

    def networks(self) -> tuple[UNet2DConditionModel, AutoencoderTiny, *tuple[CLIPTextModel, ...]]:
        """UNet, autoencoder and text encoders, their weights drawn from torch's generator."""
        kinds = (CLIPTextModel, CLIPTextModelWithProjection)
        texts = [kind(CLIPTextConfig(**text)) for kind, text in zip(kinds, self.texts, strict=False)]
        return UNet2DConditionModel(**self.unet), AutoencoderTiny(**self.vae), *texts


CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
FORMS = {
    "sd15": Form(
        unet={"sample_size": 64, "cross_attention_dim": 768},
        texts=[CLIP_L],
        scheduler=LCMScheduler(**SCHEDULE),  # as the method runs it: with LCM-LoRA
        vae={},
    ),
    "sd-turbo": Form(
        unet={
            "sample_size": 64,
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
        },
        texts=[
            {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 23,
                "num_attention_heads": 16,
                "hidden_act": "gelu",
            }
        ],
        scheduler=EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing"),
        vae={},
    ),
    "sdxl-turbo": Form(
        unet={
            "sample_size": 64,
            "cross_attention_dim": 2048,
            "attention_head_dim": [5, 10, 20],
            "use_linear_projection": True,
            "block_out_channels": [320, 640, 1280],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "transformer_layers_per_block": [1, 2, 10],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 1280 + 6 * 256,
        },
        texts=[
            CLIP_L,
            {
                "hidden_size": 1280,
                "intermediate_size": 5120,
                "num_hidden_layers": 32,
                "num_attention_heads": 20,
                "hidden_act": "gelu",
                "projection_dim": 1280,
            },
        ],
        scheduler=EulerAncestralDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing"),
        vae={},
    ),
}


@contextmanager
def folder(form: Form) -> Iterator[Path]:
    """Write the form with random weights, always the same, in float16; the folder goes at the end."""
    with TemporaryDirectory(prefix="millstream-random-") as root:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            write(form, Path(root))
        yield Path(root)


def write(form: Form, root: Path) -> None:
    """Write the folder that diffusers reads, that of transformers 4 too."""
    words = tokenizer()
    _pipeline([network.half() for network in form.networks()], words, form.scheduler).save_pretrained(root)
    for folder in root.glob("tokenizer*"):
        words.backend_tokenizer.model.save(str(folder))  # vocab.json and merges.txt, which 5 leaves out


def _pipeline(networks: Sequence[nn.Module], words: CLIPTokenizer, scheduler: SchedulerMixin) -> DiffusionPipeline:
    unet, vae, text, *second = networks
    parts = {"unet": unet, "vae": vae, "text_encoder": text, "tokenizer": words, "scheduler": scheduler}
    if second:
        return StableDiffusionXLPipeline(**parts, text_encoder_2=second[0], tokenizer_2=words)
    absent = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(**parts, **absent)


def tokenizer() -> CLIPTokenizer:
    """A tokenizer that knows bytes alone: there is no meaning to be found in the prompt."""
    tokens = [*_letters(), *(letter + "</w>" for letter in _letters()), START, END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=LENGTH)


def _letters() -> list[str]:
    """How CLIP's vocabulary writes the 256 bytes: those that print as themselves, the others from 256 on."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, shown), *map(chr, range(256, 512 - len(shown)))]
