"""The one schema: what it refuses, in one line that names the cure, and how blends and presets are read."""

from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from millstream.errors import BadInputError
from millstream.params import (
    MAX_PROMPT_LENGTH,
    MAX_PROMPTS,
    ModelConfig,
    Params,
    Settings,
    StreamConfig,
    WeightedPrompt,
    check,
    load_preset,
)

texts = st.text(max_size=40)
weights = st.floats(0, 1000, exclude_min=True)


def refusal(model: type[BaseModel], **values: Any) -> str:
    with pytest.raises(BadInputError) as error:
        check(model, values)
    message = str(error.value)
    assert message and "\n" not in message
    return message


@pytest.mark.parametrize(
    "model, values, cure",
    [
        (StreamConfig, {"steps": 0}, "steps: Input should be greater than or equal to 1 (got 0)"),
        (StreamConfig, {"steps": 51}, "steps: Input should be less than or equal to 50 (got 51)"),
        (StreamConfig, {"frame_buffer": 0}, "frame_buffer: Input should be greater than or equal to 1 (got 0)"),
        (StreamConfig, {"width": 8}, "width: Input should be greater than or equal to 16 (got 8)"),
        (StreamConfig, {"guidance": "some"}, "'none', 'full', 'self-negative' or 'one-time-negative'"),
        (StreamConfig, {"sampler": "euler"}, "'auto', 'lcm', 'turbo' or 'ode'"),
        (StreamConfig, {"input": "text", "guidance": "self-negative"}, "use full or one-time-negative with text"),
        (StreamConfig, {"step": 2}, "unknown key 'step': see `millstream convert --help` for the names"),
        (Params, {"strength": 1.5}, "strength: Input should be less than or equal to 1 (got 1.5)"),
        (Params, {"strength": -0.1}, "strength: Input should be greater than or equal to 0 (got -0.1)"),
        (Params, {"seed": -1}, "seed: Input should be greater than or equal to 0 (got -1)"),
        (Params, {"seed": 2**32}, "seed: Input should be less than 4294967296"),
        (Params, {"seed": "many"}, "seed: Input should be a valid integer"),
        (Params, {"t_index": [50]}, "t_index: must lie in 0..49, for example 0 16 32 45"),
        (Params, {"t_index": [-1, 3]}, "t_index: must lie in 0..49, for example 0 16 32 45"),
        (Params, {"t_index": [16, 16]}, "t_index: must increase (0 is the noisiest), for example 0 16 32 45"),
        (Params, {"t_index": [32, 16]}, "t_index: must increase (0 is the noisiest), for example 0 16 32 45"),
        (Params, {"similarity_threshold": 1.0}, "similarity_threshold: Input should be less than 1 (got 1.0)"),
        (Params, {"max_skip": -1}, "max_skip: Input should be greater than or equal to 0 (got -1)"),
        (Params, {"prompt": []}, "prompt: Value should have at least 1 item"),
        (Params, {"prompt": ["a"] * (MAX_PROMPTS + 1)}, f"prompt: Value should have at most {MAX_PROMPTS} items"),
        (Params, {"prompt": "a::0"}, "prompt.weight: Input should be greater than 0 (got 0.0)"),
        (Params, {"negative": "blurred"}, "unknown key 'negative'"),
        (ModelConfig, {"lora": ["a.safetensors::11"]}, "lora.scale: Input should be less than or equal to 10"),
        (ModelConfig, {"dtype": "int8"}, "'auto', 'float32', 'bfloat16' or 'float16'"),
        (Settings, {"stream": {}}, "unknown key 'stream'"),
        (Settings, {"params": {"strenght": 0.5}}, "unknown key 'params.strenght'"),
    ],
)
def test_a_refusal_names_field_and_cure(model: type[BaseModel], values: dict[str, Any], cure: str) -> None:
    assert cure in refusal(model, **values)


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("name", ["strength", "guidance_scale", "delta", "noise_correlation", "similarity_threshold"])
def test_numbers_are_finite(name: str, value: float) -> None:
    assert refusal(Params, **{name: value}).startswith(f"{name}: ")


def test_a_refusal_is_one_line_whatever_the_key() -> None:
    refusal(Params, **{"pro\nmpt": "a"})


@pytest.mark.parametrize("values", [{"prompt": "x" * 100_000}, {"seed": "9" * 4000}, {"prompt": ["a"] * 10_000}])
def test_a_refusal_is_short_whatever_the_value(values: dict[str, Any]) -> None:
    """A line is for reading: what was given is not repeated at any length."""
    assert len(refusal(Params, **values)) < 400


@pytest.mark.parametrize("model", [ModelConfig, StreamConfig, Params, Settings, WeightedPrompt])
def test_values_are_frozen(model: type[BaseModel]) -> None:
    value = model(text="a") if model is WeightedPrompt else model()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(value, next(iter(model.model_fields)), None)


def test_defaults_are_valid() -> None:
    for model in (ModelConfig, StreamConfig, Params, Settings):
        assert check(model, model().model_dump()) == model()


@settings(max_examples=300, derandomize=True, database=None)
@given(text=texts, weight=weights)
def test_a_weighted_prompt_is_read_back(text: str, weight: float) -> None:
    assert Params(prompt=f"{text}::{weight!r}").prompt == (WeightedPrompt(text=text, weight=weight),)


@settings(max_examples=300, derandomize=True, database=None)
@given(texts.filter(lambda text: "::" not in text))
def test_a_plain_prompt_is_taken_as_it_is(text: str) -> None:
    assert Params(prompt=text).prompt == (WeightedPrompt(text=text),)


@settings(max_examples=200, derandomize=True, database=None)
@given(st.lists(st.tuples(texts, weights), min_size=1, max_size=MAX_PROMPTS))
def test_a_blend_is_read_back_in_every_form(items: list[tuple[str, float]]) -> None:
    blend = tuple(WeightedPrompt(text=text, weight=weight) for text, weight in items)
    for form in ([f"{text}::{weight!r}" for text, weight in items], blend, [each.model_dump() for each in blend]):
        params = check(Params, {"prompt": form})
        assert params.prompt == blend
        assert check(Params, params.model_dump(mode="json")) == params


@pytest.mark.parametrize(
    "value, text, weight",
    [
        ("", "", 1.0),
        ("::", "::", 1.0),
        ("a::", "a::", 1.0),
        ("::2", "", 2.0),
        ("a::b", "a::b", 1.0),
        ("a::b::0.5", "a::b", 0.5),
        ("a::1::2", "a::1", 2.0),
        ("std::vector", "std::vector", 1.0),
        ("a :: 2 ", "a ", 2.0),
        ("a::1e2", "a", 100.0),
        ("a:2", "a:2", 1.0),
        ("a:::2", "a:", 2.0),
        ("zwei\nZeilen::2", "zwei\nZeilen", 2.0),
    ],
)
def test_odd_prompts_are_read(value: str, text: str, weight: float) -> None:
    assert check(Params, {"prompt": value}).prompt == (WeightedPrompt(text=text, weight=weight),)


@pytest.mark.parametrize("weight", ["-1", "0", "nan", "inf", "-inf", "1001", "1e999"])
def test_odd_weights_are_refused(weight: str) -> None:
    assert refusal(Params, prompt=f"a::{weight}").startswith("prompt.weight: ")


@pytest.mark.parametrize("value", [2024, True, None, 1.5, [["a"]]])
def test_a_prompt_that_is_no_text_is_refused(value: object) -> None:
    assert refusal(Params, prompt=value).startswith("prompt")


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_the_longest_prompt_is_taken_and_one_letter_more_is_not(field: str) -> None:
    check(Params, {field: "x" * MAX_PROMPT_LENGTH})
    assert f"at most {MAX_PROMPT_LENGTH} characters" in refusal(Params, **{field: "x" * (MAX_PROMPT_LENGTH + 1)})


@pytest.mark.parametrize(
    "value, path, scale",
    [("a.safetensors", "a.safetensors", 1.0), ("a.safetensors::-0.5", "a.safetensors", -0.5), ("C::x::2", "C::x", 2.0)],
)
def test_an_adapter_is_read(value: str, path: str, scale: float) -> None:
    [lora] = check(ModelConfig, {"lora": [value]}).lora
    assert (lora.path, lora.scale) == (path, scale)


@pytest.mark.parametrize("value", ["a::", "a::b", "a::nan", "a::inf"])
def test_an_adapter_with_an_odd_scale_is_refused(value: str) -> None:
    assert refusal(ModelConfig, lora=[value]).startswith("lora.scale: ")


PRESET = """
model: {name: embedded, lora: [style.safetensors::0.5]}
config: {steps: 4, guidance: full}
params:
  prompt: [ink drawing::2, "a cat"]
  t_index: [0, 16, 32, 45]
  seed: 7
"""


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "preset.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_preset_is_read(tmp_path: Path) -> None:
    preset = load_preset(written(tmp_path, PRESET))
    assert preset.model.lora[0].scale == 0.5
    assert preset.config == StreamConfig(steps=4, guidance="full")
    assert [(each.text, each.weight) for each in preset.params.prompt] == [("ink drawing", 2.0), ("a cat", 1.0)]
    assert (preset.params.t_index, preset.params.seed) == ((0, 16, 32, 45), 7)


def preset_refusal(path: Path) -> str:
    with pytest.raises(BadInputError) as error:
        load_preset(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "text, cure",
    [
        ("", "expected keys `model`, `config` and `params`"),
        ("- a\n- b", "expected keys `model`, `config` and `params`"),
        ("params: {strenght: 0.5}", "unknown key 'params.strenght'"),
        ("strength: 0.5", "unknown key 'strength'"),
        ("params: {strength: 2}", "params.strength: Input should be less than or equal to 1 (got 2)"),
        ("params: 3", "params: "),
        ("params:", "params: "),
        ("params: {1: 2}", "params: Keys should be strings"),
        ("params: {", "not a YAML file; write keys as `name: value`"),
        ("params:\n\tseed: 1", "not a YAML file; write keys as `name: value`"),
        ("params: !!python/object:os.system 1", "not a YAML file; write keys as `name: value`"),
        (b"\xff\xfe\x00\x01", "not a YAML file; write keys as `name: value`"),
        (b"\x89PNG\r\n\x1a\n", "not a YAML file; write keys as `name: value`"),
        ("a: &a [*a]", "unknown key 'a'"),
    ],
)
def test_a_preset_that_cannot_be_used_says_why(tmp_path: Path, text: str | bytes, cure: str) -> None:
    assert cure in preset_refusal(written(tmp_path, text))


@pytest.mark.parametrize("text", ["params: {prompt: 2024-02-30}", "params: {seed: 0b_}", "[" * 1000])
def test_a_preset_that_yaml_itself_stumbles_over_says_so(tmp_path: Path, text: str) -> None:
    """Dates that are none, numbers that are none, and depths that are too great raise no YAMLError."""
    assert "preset" in preset_refusal(written(tmp_path, text))


def test_a_preset_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "gone.yaml"
    assert preset_refusal(missing) == f"preset {missing}: No such file or directory; give the path of a YAML file"
    assert preset_refusal(tmp_path).startswith(f"preset {tmp_path}: Is a directory")


@pytest.mark.parametrize(
    ("given", "read"), [("120ms", 120), ("0.12s", 120), (" 1 s ", 1000), (120, 120), ("120", 120), (None, None)]
)
def test_ages_are_read_with_their_unit(given: Any, read: int | None) -> None:
    assert check(Params, {"max_age": given}).max_age == read


@pytest.mark.parametrize("given", ["soon", "12x", "nan", "1e999s", "ms", "", 0, -5, 1.5, 60_001, [120]])
def test_what_is_no_age_is_refused_with_the_cure(given: Any) -> None:
    assert refusal(Params, max_age=given).startswith("max_age: ")
