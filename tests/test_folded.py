from itertools import product
from typing import Any

import pytest
import torch
from diffusers import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d
from torch import nn

from millstream.models import load_model
from millstream.models.folded import fold
from millstream.params import ModelConfig
from tests import tiny

WAYS = [
    {"downsample_block_type": down, "upsample_block_type": up}
    for down, up in product(("pixel_unshuffle", "Conv"), ("pixel_shuffle", "interpolate"))
]
WIDTHS = [((8, 8, 16), (0, 1, 1)), ((8, 16, 16), (1, 1, 1)), ((4, 16, 32), (1, 1, 2)), ((16, 8), (1, 1))]
SIDES = [(1, 8, 8), (2, 16, 24), (3, 40, 8)]


def autoencoder(widths: tuple[int, ...], layers: tuple[int, ...], **ways: Any) -> AutoencoderDC:
    with tiny.seeded(len(widths)):
        return AutoencoderDC(
            latent_channels=8,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            encoder_layers_per_block=layers,
            decoder_layers_per_block=layers,
            encoder_qkv_multiscales=((),) * len(widths),
            decoder_qkv_multiscales=((),) * len(widths),
            **ways,
        ).eval()


def blocks(vae: nn.Module) -> list[nn.Module]:
    return [module for module in vae.modules() if isinstance(module, DCDownBlock2d | DCUpBlock2d)]


@pytest.mark.parametrize("ways", WAYS, ids=lambda ways: " ".join(ways.values()))
@pytest.mark.parametrize(("widths", "layers"), WIDTHS)
@torch.inference_mode()
def test_a_folded_autoencoder_computes_what_diffusers_does(
    widths: tuple[int, ...], layers: tuple[int, ...], ways: dict[str, str]
) -> None:
    plain, folded = (autoencoder(widths, layers, **ways) for _ in range(2))
    fold(folded)
    assert not any(isinstance(block, DCDownBlock2d) for block in blocks(folded))
    for frames, height, width in SIDES:
        pictures = torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(width)) * 2 - 1
        latents = plain.encoder(pictures)
        assert latents.std() > 1e-3
        torch.testing.assert_close(folded.encoder(pictures), latents, atol=1e-5, rtol=1e-4)
        assert torch.equal(folded.decoder(latents), plain.decoder(latents))


def test_the_embedded_model_is_folded() -> None:
    left = blocks(load_model(ModelConfig()).codec.vae)
    assert len(left) == 1  # the last one, which has no shortcut
    assert isinstance(left[0], DCUpBlock2d)
