import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from millstream import embedded
from millstream.models import Model, load_model
from millstream.models.text import KEPT_PROMPTS, Tokens, guidance_embedding
from millstream.params import ModelConfig, Params
from tests import tiny


def load(folder: Path) -> Model:
    return load_model(ModelConfig(name=str(folder), device="cpu"))


def blend(*prompts: str):
    return Params(prompt=list(prompts)).prompt


def encode_prompt(folder: Path, prompt: str) -> torch.Tensor:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    return pipeline.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)[0].detach()


@pytest.mark.parametrize("prompt", ["", "a cat", "ink, é 漢字🐼"])
def test_two_encoders_equal_diffusers_encode_prompt(prompt: str) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny.sdxl_turbo())
    states, _, pooled, _ = pipeline.encode_prompt(prompt, device="cpu", do_classifier_free_guidance=False)
    model = load(tiny.sdxl_turbo())
    torch.testing.assert_close(model.condition(blend(prompt))["prompt"], states.detach(), atol=1e-6, rtol=0)
    torch.testing.assert_close(model.conditioner.blend(blend(prompt))[1], pooled.detach(), atol=1e-6, rtol=0)


def test_what_joins_the_time_embedding_follows_prompt_and_size() -> None:
    model = load(tiny.sdxl_turbo())
    native, same, other = (model.condition(blend("a cat"), 1.0, size)["added"] for size in (None, (32, 32), (64, 32)))
    assert torch.equal(native, same)
    assert not torch.equal(native, other)
    assert not torch.equal(native, model.condition(blend("a dog"))["added"])
    both = model.conditioner.blend(blend("a cat::3", "a dog::1"))[1]
    cat, dog = (model.conditioner.blend(blend(text))[1] for text in ("a cat", "a dog"))
    torch.testing.assert_close(both, 0.75 * cat + 0.25 * dog, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def model() -> Model:
    return load(tiny.sd1())


class Calls:
    """Counts calls of the text encoder."""

    def __init__(self, model: Model) -> None:
        self.count = 0
        model.conditioner.networks.reader.register_forward_hook(self.add)

    def add(self, *_: object) -> None:
        self.count += 1


@pytest.mark.parametrize("make", [tiny.sd1, tiny.sd_turbo, tiny.small])
@pytest.mark.parametrize("prompt", ["", "a cat", "ink, é 漢字🐼"])
def test_condition_equals_diffusers_encode_prompt(make, prompt: str) -> None:
    cond = load(make()).condition(blend(prompt))
    torch.testing.assert_close(cond["prompt"], encode_prompt(make(), prompt), atol=1e-6, rtol=0)


def test_a_cut_prompt_equals_diffusers_and_is_told() -> None:
    long = "a " * 40 + "castle"
    with pytest.warns(UserWarning, match=r"24 tokens; cut off: 'a a .*castle'"):
        cond = load(tiny.small()).condition(blend(long))
    assert cond["prompt"].shape[1] == 24
    torch.testing.assert_close(cond["prompt"], encode_prompt(tiny.small(), long), atol=1e-6, rtol=0)


def test_a_prompt_that_just_fits_is_not_told() -> None:
    model = load(tiny.small())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.condition(blend("a " * 22))
    with pytest.warns(UserWarning, match="cut off: 'a'"):
        model.condition(blend("a " * 23))


def test_condition_is_one_row_with_keys_and_values_of_every_layer(model: Model) -> None:
    cond = model.condition(blend("a cat"))
    unet = model.denoiser.unet
    layers = [unet.get_submodule(n.removesuffix(".processor")) for n in unet.attn_processors if "attn2" in n]
    assert set(cond) == {"prompt", *(f"{kind}.{i}" for kind in ("keys", "values") for i in range(len(layers)))}
    for i, layer in enumerate(layers):
        assert torch.equal(cond[f"keys.{i}"], layer.to_k(cond["prompt"]))
        assert torch.equal(cond[f"values.{i}"], layer.to_v(cond["prompt"]))


def test_a_blend_is_linear_in_embeddings_and_its_weights_sum_to_one(model: Model) -> None:
    cat, dog = (model.condition(blend(p))["prompt"] for p in ("a cat", "a dog"))
    mixed = model.condition(blend("a cat::3", "a dog::1"))
    torch.testing.assert_close(mixed["prompt"], 0.75 * cat + 0.25 * dog, atol=1e-6, rtol=0)
    assert torch.equal(mixed["prompt"], model.condition(blend("a cat::0.75", "a dog::0.25"))["prompt"])


def test_one_prompt_of_any_weight_is_that_prompt(model: Model) -> None:
    assert torch.equal(model.condition(blend("a cat::7"))["prompt"], model.condition(blend("a cat"))["prompt"])


def test_a_known_prompt_is_not_encoded_again() -> None:
    model = load(tiny.sd1())
    calls = Calls(model)
    first = model.condition(blend("a cat", "a dog"))
    assert calls.count == 2
    again = model.condition(blend("a cat", "a dog"), guidance_scale=5.0)
    model.condition(blend("a dog::3"))
    assert calls.count == 2
    assert all(again[name] is value for name, value in first.items())


def test_kept_prompts_are_bounded() -> None:
    model = load(tiny.sd1())
    calls = Calls(model)
    for i in range(KEPT_PROMPTS + 1):
        model.condition(blend(f"{i}"))
    model.condition(blend(f"{KEPT_PROMPTS}", "1"))
    assert calls.count == KEPT_PROMPTS + 1
    model.condition(blend("0"))
    assert calls.count == KEPT_PROMPTS + 2


def test_prompts_may_be_encoded_from_many_threads() -> None:
    model = load(tiny.sd1())
    prompts = [f"{i} birds" * (i % 3 + 1) for i in range(64)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda prompt: model.condition(blend(prompt))["prompt"], prompts))
    fresh = load(tiny.sd1())
    for prompt, embeddings in zip(prompts, found, strict=True):
        assert torch.equal(embeddings, fresh.condition(blend(prompt))["prompt"])


@pytest.mark.parametrize("scale", [1.0, 1.5, 8.0])
@pytest.mark.parametrize("width", [20, 256, 33])
def test_guidance_embedding_equals_diffusers(scale: float, width: int) -> None:
    embed = LatentConsistencyModelPipeline.get_guidance_scale_embedding
    expected = embed(None, torch.tensor([scale - 1]), embedding_dim=width)
    assert torch.equal(guidance_embedding(scale, width), expected)


def test_only_a_distilled_unet_is_told_the_guidance_scale(model: Model) -> None:
    assert "timestep_cond" not in model.condition(blend("a cat"), 3.0)
    cond = load(tiny.lcm()).condition(blend("a cat"), 3.0)
    assert torch.equal(cond["timestep_cond"], guidance_embedding(3.0, 20))


@cache
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(embedded.path() / "tokenizer")


@given(st.text(max_size=200))
def test_tokens_equal_those_of_the_library(text: str) -> None:
    theirs = tokenizer()
    ours = Tokens.of(theirs, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs(text, padding="max_length", max_length=24, truncation=True)["input_ids"]
        assert ours(text).tolist() == [expected]
