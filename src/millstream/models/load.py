"""Loading a model: its parts, its adapters, its device and its numbers."""

import torch

from millstream import embedded
from millstream.errors import ModelError
from millstream.models.codec import Codec
from millstream.models.denoiser import UNetDenoiser
from millstream.models.device import choose_device, choose_dtype
from millstream.models.lora import fuse
from millstream.models.model import Model
from millstream.models.parts import Parts, load_parts
from millstream.models.quiet import quiet
from millstream.models.schedule import noise_schedule, recognise_rule
from millstream.models.text import Conditioner, TextEncoder
from millstream.params import ModelConfig


def load_model(config: ModelConfig) -> Model:
    """Load what `config` names, fuse its adapters, and put it on its device in its numbers.

    Raises ModelError, in one line that names the cure, where files are missing, unreadable or of an unknown kind.
    """
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    path = str(embedded.path()) if config.name == "embedded" else config.name
    with quiet():
        parts = load_parts(path, config.base, config.vae)
        distilled = fuse(parts.unet, parts.text_encoder, config.lora)
        for network in parts.networks:
            network.to(device, dtype).eval().requires_grad_(False)
    return _assemble(config.name, parts, distilled, device, dtype)


def _assemble(name: str, parts: Parts, distilled: bool, device: torch.device, dtype: torch.dtype) -> Model:
    codec, denoiser = Codec(parts.vae), UNetDenoiser(parts.unet).eval()
    _check_channels(name, denoiser.channels, codec.channels)
    width, height = _native_size(name, parts.unet.config.sample_size, codec.factor)
    return Model(
        name=name,
        schedule=noise_schedule(parts.scheduler),
        rule=recognise_rule(parts.scheduler, distilled or denoiser.guidance_width is not None),
        width=width,
        height=height,
        device=device,
        dtype=dtype,
        denoiser=denoiser,
        conditioner=Conditioner(TextEncoder(parts.tokenizer, parts.text_encoder, parts.vocabulary), denoiser),
        codec=codec,
    )


def _check_channels(name: str, denoiser: int, codec: int) -> None:
    if denoiser != codec:
        raise ModelError(
            f"model {name}: its UNet takes {denoiser} channels and the autoencoder gives {codec}; "
            "use a plain text-to-image model, and an autoencoder made for it"
        )


def _native_size(name: str, cells: int | list[int] | None, factor: int) -> tuple[int, int]:
    """Width and height in pixels, from the UNet's sample size in latent cells (a side, or height and width)."""
    if not cells:
        raise ModelError(
            f"model {name}: unet/config.json has no sample_size; set it to the size trained on, in latents"
        )
    height, width = (cells, cells) if isinstance(cells, int) else cells
    return width * factor, height * factor
