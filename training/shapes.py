"""The sizes of the networks, and the noise schedule: everything that config files of the shipped folder say.

Sized for two CPU cores at 256x256: an autoencoder that works on 128x128 and below, a denoiser with attention on
16x16 and 8x8 alone, one head per 64 channels.
"""

from diffusers import AutoencoderTiny, LCMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

LATENT_CHANNELS = 24
SCALE = 8  # pixels per latent
WORDS = 24  # tokens of a prompt, start and end included
TEXT_WIDTH = 128


def autoencoder() -> AutoencoderTiny:
    """A fresh autoencoder, 8-fold, no blocks at full resolution."""
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(0, 1, 2, 3),
        num_decoder_blocks=(4, 3, 1, 0),
        latent_channels=LATENT_CHANNELS,
    )


def denoiser() -> UNet2DConditionModel:
    """A fresh denoiser, silent at first: it predicts noise, so its x0 starts as its input and not as grey."""
    model = UNet2DConditionModel(
        sample_size=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        attention_head_dim=(1, 2, 3),  # diffusers reads this as the number of heads
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=16,
        addition_embed_type="text",  # the prompt also joins the time embedding, and so reaches every block
        addition_embed_type_num_heads=4,
    )
    nn.init.zeros_(model.conv_out.weight)
    nn.init.zeros_(model.conv_out.bias)
    return model


def text_encoder(vocabulary: int, start: int, end: int) -> CLIPTextModel:
    """A fresh text encoder for a vocabulary of that many tokens."""
    return CLIPTextModel(
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


def scheduler() -> LCMScheduler:
    """Betas gentler than Stable Diffusion's: its noise destroys so small a latent."""
    return LCMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=2.5e-3,
        beta_schedule="linear",
        prediction_type="epsilon",
        original_inference_steps=50,
        timestep_scaling=10.0,
        clip_sample=False,
        steps_offset=1,
        set_alpha_to_one=True,
    )
