"""Loading a model whole: its parts and its adapters, on its device and in its numbers."""

from typing import Any

import torch
from diffusers import AutoencoderDC

from millstream import embedded
from millstream.errors import ModelError
from millstream.models.attention import fuse_projections
from millstream.models.codec import Codec
from millstream.models.denoiser import UNetDenoiser
from millstream.models.folded import fold
from millstream.models.lora import fuse
from millstream.models.model import Model, Networks, loaded
from millstream.models.parts import Parts, load_parts
from millstream.models.prompts import PairReader, PromptNetworks, Reader, added_of
from millstream.models.quiet import quiet
from millstream.models.schedule import noise_schedule, recognise_rule
from millstream.models.text import Conditioner, Tokens
from millstream.params import ModelConfig


def load(config: ModelConfig, device: torch.device, dtype: torch.dtype, key: str | None) -> Model:
    """Load what `config` names, fuse its adapters, and put it on the device in its numbers.

    Raises ModelError, in one line that names the cure, where files are missing, unreadable or of an unknown kind.
    """
    path = str(embedded.path()) if config.name == embedded.NAME else config.name
    with quiet():
        parts = load_parts(path, config.base, config.vae)
        distilled = fuse(parts.unet, parts.text_encoders, config.lora)
        place(parts, device, dtype)
    return _assemble(parts, distilled, name=config.name, device=device, dtype=dtype, key=key)


def place(parts: Parts, device: torch.device, dtype: torch.dtype) -> None:
    """Put the networks on the device, in these numbers, and in the form that is fast there.

    Tensor cores take channels last, and a small product leaves most of a card idle: three of them are one there.
    """
    if isinstance(parts.vae, AutoencoderDC):
        fold(parts.vae)
    if device.type == "cuda":
        fuse_projections(parts.unet)
        for network in parts.networks:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for network in parts.networks:
        network.to(device, dtype).eval().requires_grad_(False)
    if parts.is_xl and parts.vae.config.get("force_upcast") and dtype == torch.float16:
        parts.vae.float()  # SDXL's own leaves the range of float16


def _assemble(parts: Parts, distilled: bool, **of: Any) -> Model:
    codec, denoiser = Codec(parts.vae), UNetDenoiser(parts.unet).eval()
    _check_channels(of["name"], denoiser.channels, codec.channels)
    width, height = _native_size(of["name"], parts.unet.config.sample_size, codec.factor)
    return Model(
        schedule=noise_schedule(parts.scheduler),
        rule=recognise_rule(parts.scheduler, distilled or denoiser.guidance_width is not None),
        width=width,
        height=height,
        channels=codec.channels,
        factor=codec.factor,
        multiple=codec.factor * denoiser.factor,
        conditioner=_conditioner(parts, denoiser, of["device"]),
        networks=loaded(Networks(denoiser, codec)),
        known_print=None,
        **of,
    )


def _conditioner(parts: Parts, denoiser: UNetDenoiser, device: torch.device) -> Conditioner:
    tokens = [
        Tokens.of(tokenizer, encoder.config.max_position_embeddings)
        for tokenizer, encoder in zip(parts.tokenizers, parts.text_encoders, strict=True)
    ]
    reader = (PairReader if len(parts.text_encoders) > 1 else Reader)(*parts.text_encoders)
    networks = PromptNetworks(reader, denoiser.projections, added_of(parts.unet)).eval()
    return Conditioner(tokens, networks, device, denoiser.guidance_width, parts.vocabulary)


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
