"""Pictures and latents against diffusers' own image-to-image pipeline with its LCM scheduler and the same noise."""

import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForImage2Image, LCMScheduler
from PIL import Image

from millstream import Frame, Params, StreamConfig
from millstream.core.rows import Group
from millstream.core.tick import tick
from millstream.engine import Engine
from millstream.feed import Feed, offline
from millstream.models import load_model
from millstream.params import ModelConfig
from tests import tiny

SIZE = {"width": 48, "height": 32}
SEED, STRENGTH = 11, 0.5  # at half strength diffusers runs exactly half of the steps it is asked for


def epsilon():
    """A consistency model that predicts noise: SD 1.5's form with LCM's scheduler and an autoencoder without chance."""
    parts = tiny.unet(), tiny.autoencoder_tiny(channels=4, levels=4), tiny.text_encoder()
    folder = tiny.ROOT / "lcm-epsilon"
    return folder if folder.exists() else tiny.make("lcm-epsilon", *parts, tiny.LCM)


def xl():
    """The same of SDXL's form."""
    parts = tiny.unet(**tiny.SDXL), tiny.autoencoder_tiny(channels=4, levels=4), tiny.text_encoder(eos_token_id=2)
    folder = tiny.ROOT / "lcm-xl"
    return folder if folder.exists() else tiny.make("lcm-xl", *parts, tiny.LCM, second=tiny.text_encoder_2())


@pytest.fixture(scope="module", params=["sample", "epsilon", "xl"])
def folder(request):
    return {"sample": tiny.small, "epsilon": epsilon, "xl": xl}[request.param]()


@pytest.fixture(scope="module")
def model(folder):
    return load_model(ModelConfig(name=str(folder)))


@pytest.fixture(scope="module")
def pipeline(folder):
    none = {} if folder.name == "lcm-xl" else {"safety_checker": None}
    pipe = AutoPipelineForImage2Image.from_pretrained(folder, use_safetensors=True, **none)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def picture():
    return np.random.default_rng(3).integers(0, 256, (SIZE["height"], SIZE["width"], 3), np.uint8)


def theirs(pipeline, steps, scale, output_type):
    return pipeline(
        prompt="a red boat",
        negative_prompt="blue",
        image=Image.fromarray(picture()),
        strength=STRENGTH,
        num_inference_steps=round(steps / STRENGTH),
        guidance_scale=scale,
        generator=torch.Generator().manual_seed(SEED),
        output_type=output_type,
    ).images[0]


def session_of(model, steps, scale):
    config = StreamConfig(**SIZE, steps=steps, guidance="full" if scale > 1 else "none")
    params = Params(
        prompt="a red boat", negative_prompt="blue", seed=SEED, strength=STRENGTH, guidance_scale=max(scale, 1)
    )
    return Engine(model), Engine(model).open(config, params)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("scale", [1.0, 1.5, 4.0])
def test_latents_equal_diffusers(model, pipeline, steps, scale):
    _, session = session_of(model, steps, scale)
    z = model.encode(torch.from_numpy(picture())[None])
    leaving, group = None, Group([0], [0], z, session.prepared)
    while leaving is None:
        (leaving,), group = tick(model.denoise, [session.lane], [group]), None
    expected = theirs(pipeline, steps, scale, "latent")
    error = float((leaving.latents[0] - expected).abs().max() / expected.abs().max())
    assert error < 2e-5  # float32, relative to the largest latent


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_pictures_equal_diffusers(model, pipeline, scale):
    engine, session = session_of(model, 2, scale)
    (ours,) = offline(Feed(engine, session), [Frame(0, picture())])
    expected = np.asarray(theirs(pipeline, 2, scale, "pil")).astype(int)
    assert np.abs(ours.pixels - expected).max() <= 1  # 8-bit rounding at a float's edge
    assert expected.std() > 5  # a flat picture would prove nothing
