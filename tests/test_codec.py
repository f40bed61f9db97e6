import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor

from millstream.models import load_model
from millstream.models.codec import Codec
from millstream.params import ModelConfig
from tests import tiny

KL = [(4, 4, {}), (8, 3, {"scaling_factor": 0.3}), (16, 2, {"scaling_factor": 0.36, "shift_factor": 0.12})]
TINY = [(4, 4, {}), (6, 3, {"scaling_factor": 0.5}), (32, 2, {}), (16, 5, {}), (3, 1, {})]


def pictures(frames: int = 2, h: int = 32, w: int = 48, high: int = 256) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(0, high, (frames, h, w, 3), dtype=torch.uint8, generator=generator)


def signal(pixels: Tensor) -> Tensor:
    """What diffusers makes of the pictures."""
    return VaeImageProcessor().preprocess(pixels.float().numpy() / 255)


def frozen(vae):
    return vae.requires_grad_(False)


@pytest.mark.parametrize(("channels", "levels", "config"), KL)
def test_kl_encodes_the_mean_of_the_posterior(channels: int, levels: int, config) -> None:
    vae: AutoencoderKL = frozen(tiny.autoencoder_kl(channels, levels, **config))
    mean = vae.encode(signal(pictures())).latent_dist.mean
    expected = (mean - config.get("shift_factor", 0)) * vae.config.scaling_factor
    torch.testing.assert_close(Codec(vae).encode(pictures()), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("channels", "levels", "config"), TINY)
def test_tiny_encodes_as_diffusers(channels: int, levels: int, config) -> None:
    vae: AutoencoderTiny = frozen(tiny.autoencoder_tiny(channels, levels, **config))
    expected = vae.encode(signal(pictures())).latents * vae.config.scaling_factor
    torch.testing.assert_close(Codec(vae).encode(pictures()), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "vae",
    [*(tiny.autoencoder_kl(c, n, **k) for c, n, k in KL), *(tiny.autoencoder_tiny(c, n, **k) for c, n, k in TINY)],
)
def test_sizes_and_decoded_pictures_are_those_of_diffusers(vae) -> None:
    codec = Codec(frozen(vae))
    latents = codec.encode(pictures())
    assert latents.shape == (2, codec.channels, 32 // codec.factor, 48 // codec.factor)
    code = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0)
    picture = VaeImageProcessor().postprocess(vae.decode(code).sample, output_type="np")
    expected = torch.from_numpy((picture * 255).round()).byte()
    decoded = codec.decode(latents)
    assert decoded.dtype == torch.uint8
    assert decoded.shape == pictures().shape
    off = (decoded.int() - expected.int()).abs()
    assert off.max() <= 1  # a half may round either way
    assert off.float().mean() < 1e-3


def test_encoding_draws_nothing() -> None:
    codec = Codec(frozen(tiny.autoencoder_kl()))
    assert torch.equal(codec.encode(pictures()), codec.encode(pictures()))


class Listening(AutoencoderTiny):
    """Keeps what it was given to encode."""

    def encode(self, x: Tensor):
        self.heard = x
        return super().encode(x)


@pytest.mark.parametrize("level", [0, 1, 2, 127, 255])
def test_pixels_are_scaled_once_whatever_they_show(level: int) -> None:
    vae = frozen(Listening())
    Codec(vae).encode(torch.full((1, 8, 8, 3), level, dtype=torch.uint8))
    torch.testing.assert_close(vae.heard, torch.full((1, 3, 8, 8), level / 127.5 - 1))


def test_frames_are_independent() -> None:
    codec = Codec(frozen(tiny.autoencoder_kl()))
    together = codec.encode(pictures(3))
    alone = torch.cat([codec.encode(picture[None]) for picture in pictures(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


class Mirror(AutoencoderTiny):
    """Gives its latents as the decoded signal."""

    def decode(self, x: Tensor):
        return type("Output", (), {"sample": x})


def test_decoding_rounds_and_clamps() -> None:
    values = torch.tensor([-9.0, -1.0, -1 + 0.4 / 127.5, -1 + 0.6 / 127.5, 0.0, 1.0, 1.1, 1e9])
    pixels = Codec(Mirror()).decode(values.view(1, 1, 1, 8).repeat(1, 3, 1, 1))
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 0, 1, 128, 255, 255, 255]


def test_latents_are_float32_whatever_the_model_runs_in() -> None:
    codec = Codec(frozen(tiny.autoencoder_tiny()).bfloat16())
    latents = codec.encode(pictures())
    assert latents.dtype == torch.float32
    assert codec.decode(latents).dtype == torch.uint8


def test_the_autoencoder_of_xl_is_computed_in_float32_where_the_rest_is_in_float16() -> None:
    model = load_model(ModelConfig(name=str(tiny.sdxl_turbo()), dtype="float16"))
    assert (model.denoiser.unet.dtype, model.codec.vae.dtype) == (torch.float16, torch.float32)
    assert load_model(ModelConfig(name=str(tiny.sd1()), dtype="float16")).codec.vae.dtype == torch.float16
