"""The sizes of the networks, and the noise schedule: everything that config files of the shipped folder say.

Sized for two CPU cores at 256x256: an autoencoder that works on 128x128 and below, a denoiser with attention on
8x8 alone, one head per 64 channels. A second layer there costs an eighth of a tick, and is to hold 160 objects. On
32x32 it is wider than on 16x16, for fine detail, which every style treats otherwise, goes through there alone.
"""

import numpy as np
from diffusers import AutoencoderDC, LCMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

LATENT_CHANNELS = 32
SCALE = 8  # pixels per latent
WORDS = 24  # tokens of a prompt, start and end included
TEXT_WIDTH = 128


def autoencoder() -> AutoencoderDC:
    """A fresh autoencoder, 8-fold, nothing wide at full resolution.

    AutoencoderDC (arXiv 2410.10733) rather than AutoencoderTiny: it moves pixels into channels and back, where
    AutoencoderTiny repeats its neighbours and filters, so that a constant latent can only be a constant picture. At the
    same 800 steps it is 3 dB ahead, and its convolutions at 256x256 are a tenth.
    """
    widths, deep = (16, 16, 32, 64), ((),) * 4
    return AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        encoder_layers_per_block=(0, 1, 1, 2),
        decoder_layers_per_block=(0, 2, 2, 2),
        encoder_qkv_multiscales=deep,
        decoder_qkv_multiscales=deep,
    )


def denoiser() -> UNet2DConditionModel:
    """A fresh denoiser; it predicts the clean latent, at every time in the same size.

    Its last convolution is not made silent: then what lies before it gets next to no gradient at first, Adam walks it
    about at random, and the activations grow a thousandfold.
    """
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(128, 96, 192),
        time_embedding_dim=256,  # as 64 channels have it by default: every block has a projection of it
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        transformer_layers_per_block=2,
        attention_head_dim=3,  # diffusers reads this as the number of heads
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=16,
        # time and prompt scale what a block normalises: added alone, they hardly reach its fine details
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",  # the prompt also joins the time embedding, and so reaches every block
        addition_embed_type_num_heads=4,
    )


def text_encoder(vocabulary: int, start: int, end: int) -> CLIPTextModel:
    """A fresh text encoder for a vocabulary of that many tokens.

    Its words begin at unit variance: as CLIP starts them, fifty times smaller, the layers' sums drown which it was.
    """
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=WORDS,
            bos_token_id=start,
            eos_token_id=end,
            pad_token_id=end,
        )
    )
    nn.init.normal_(model.get_input_embeddings().weight)
    return model


def betas() -> list[float]:
    """The noise's growth: alphabar(u) = exp(-(0.088 u + 4 u^6.3)), u from 0 to 1.

    Stable Diffusion's betas destroy so small a latent. Here the default strength's two steps, 499 and 259, see 9 and 2
    percent of noise, enough to make up for what the network gets wrong, and only the last fifth hides the picture.
    """
    u = np.arange(1001) / 1000
    exponent = 0.088 * u + 4 * u**6.3
    return [float(beta) for beta in -np.expm1(-np.diff(exponent))]


def scheduler() -> LCMScheduler:
    """LCM's steps over `betas`."""
    return LCMScheduler(
        num_train_timesteps=1000,
        trained_betas=betas(),
        prediction_type="sample",
        original_inference_steps=50,
        timestep_scaling=10.0,
        clip_sample=False,
        steps_offset=1,
        set_alpha_to_one=True,
    )
