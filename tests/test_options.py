"""The options are the schema: every field, read back as it was written."""

from argparse import Namespace
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from millstream.errors import BadInputError
from millstream.options import SCHEMAS, Parser, add_options, flag, read_settings
from millstream.params import MAX_STAGES, Lora, Settings, WeightedPrompt

FIELDS = [(section, name) for section, schema in SCHEMAS.items() for name in schema.model_fields]


def parser(omit: tuple[str, ...] = ()) -> Parser:
    made = Parser(prog="millstream")
    add_options(made, omit)
    return made


def parse(*words: str) -> Settings:
    return read_settings(parser().parse_args(words))


def preset(folder: Path, **values: Any) -> str:
    path = folder / "preset.yaml"
    path.write_text(yaml.safe_dump(values))
    return f"--preset={path}"


def as_words(option: str, value: Any) -> list[str]:
    """What a user would type for `value`."""
    if value is None:
        return []
    if isinstance(value, bool):
        return [option if value else option.replace("--", "--no-", 1)]
    if not isinstance(value, tuple):
        return [f"{option}={value}"]
    if value and isinstance(value[0], int):
        return [option, *map(str, value)]
    return [f"{option}={as_text(item)}" for item in value]


def as_text(item: WeightedPrompt | Lora) -> str:
    return f"{item.text}::{item.weight}" if isinstance(item, WeightedPrompt) else f"{item.path}::{item.scale}"


def valid(name: str, field: FieldInfo) -> st.SearchStrategy[Any]:
    if name == "t_index":
        indices = st.sets(st.integers(0, MAX_STAGES - 1), min_size=1)
        return st.none() | indices.map(lambda chosen: tuple(sorted(chosen)))
    if name == "prompt":
        weights = st.floats(0, 1000, exclude_min=True)
        return st.lists(st.builds(WeightedPrompt, text=st.text(), weight=weights), min_size=1, max_size=8).map(tuple)
    if name == "lora":
        return st.lists(st.builds(Lora, path=st.text(), scale=st.floats(-10, 10)), max_size=8).map(tuple)
    if field.metadata and field.default is None:
        return st.none() | st.from_type(Annotated[get_args(field.annotation)[0], *field.metadata])
    return st.from_type(Annotated[field.annotation, None, *field.metadata])


def any_values(schema: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: valid(name, f) for name, f in schema.model_fields.items()})


@pytest.mark.parametrize("section", SCHEMAS)
@given(data=st.data())
def test_valid_values_come_back_from_the_options(section: str, data: st.DataObject) -> None:
    schema = SCHEMAS[section]
    values = data.draw(any_values(schema))
    if values.get("input") == "text" and values.get("guidance") == "self-negative":
        del values["guidance"]
    words = [word for name, value in values.items() for word in as_words(flag(section, name), value)]
    assert getattr(parse(*words), section) == schema(**values)


@pytest.mark.parametrize(("section", "name"), FIELDS)
def test_every_field_has_one_option_with_its_description_as_help(section: str, name: str) -> None:
    (action,) = (each for each in parser()._actions if each.dest == f"{section}.{name}")
    assert flag(section, name) in action.option_strings
    description = SCHEMAS[section].model_fields[name].description
    assert description and description in str(action.help)


def test_help_has_a_group_for_each_section_and_shows_defaults() -> None:
    text = " ".join(parser().format_help().split())
    for part in ["model:", "stream:", "parameters:", "0 keeps the input, 1 repaints it (default: 0.5)"]:
        assert part in text
    assert "as the method has it (default: on)" in text
    assert "(default: )" not in text
    assert "default: None" not in text


def test_an_omitted_field_is_no_option() -> None:
    with pytest.raises(BadInputError, match=r"unrecognized arguments: --stall hold; see `millstream --help`"):
        parser(omit=("config.stall",)).parse_args(["--stall", "hold"])


def test_nothing_given_is_nothing_set() -> None:
    assert parser().parse_args([]) == Namespace(preset=None)
    assert parse() == Settings()


def test_an_option_wins_over_the_preset_and_the_preset_over_the_default(tmp_path: Path) -> None:
    values = {
        "model": {"device": "cpu"},
        "config": {"steps": 3, "cross_frame": True},
        "params": {"prompt": "ink::0.4", "seed": 9},
    }
    parsed = parse(preset(tmp_path, **values), "--seed=5", "--no-cross-frame")
    assert parsed.params.seed == 5
    assert parsed.config.cross_frame is False
    assert parsed.config.steps == 3
    assert parsed.model.device == "cpu"
    assert parsed.params.prompt == (WeightedPrompt(text="ink", weight=0.4),)
    assert parsed.params.strength == 0.5


def test_prompts_and_adapters_repeat() -> None:
    parsed = parse("--prompt", "A", "--prompt", "B::0.5", "--lora", "p", "--lora", "q::0.7")
    assert parsed.params.prompt == (WeightedPrompt(text="A"), WeightedPrompt(text="B", weight=0.5))
    assert parsed.model.lora == (Lora(path="p"), Lora(path="q", scale=0.7))


def test_indices_give_the_number_of_steps(tmp_path: Path) -> None:
    assert parse("--t-index", "0", "16", "32", "45").config.steps == 4
    assert parse("--t-index", "0", "16", "--steps", "2").config.steps == 2
    stored = preset(tmp_path, config={"steps": 3}, params={"t_index": [0, 16, 32]})
    assert parse(stored).config.steps == 3
    assert parse(stored, "--t-index", "5").config.steps == 1
    assert parse(preset(tmp_path, params={"t_index": [1, 2]})).config.steps == 2


def test_a_given_strength_replaces_the_indices_of_the_preset(tmp_path: Path) -> None:
    stored = preset(tmp_path, config={"steps": 2}, params={"t_index": [10, 20]})
    parsed = parse(stored, "--strength=0.7")
    assert (parsed.params.t_index, parsed.params.strength, parsed.config.steps) == (None, 0.7, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "steps: .*greater than or equal to 1"),
        (["--steps", "two"], "steps: .*valid integer"),
        (["--width", "8"], "width: .*16"),
        (["--strength", "1.5"], "strength: .*less than or equal to 1"),
        (["--strength", "-0.1"], "strength: .*greater than or equal to 0"),
        (["--strength", "nan"], "strength: "),
        (["--t-index", "3", "50"], "t_index: must lie in 0..49"),
        (["--t-index", "3", "3"], "t_index: must increase"),
        (["--t-index"], "expected at least one argument"),
        (["--guidance", "some"], "invalid choice: 'some'"),
        (["--prompt", "a::0"], "prompt.weight: .*greater than 0"),
        (["--guid", "full"], "unrecognized arguments: --guid full"),
        (["--input", "text", "--guidance", "self-negative"], "self-negative needs an input picture"),
        (["--preset", "nowhere.yaml"], "preset nowhere.yaml: No such file"),
    ],
)
def test_a_bad_value_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as raised:
        parse(*words)
    assert "\n" not in str(raised.value)


def test_an_unknown_preset_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"unknown key 'params\.strenght'"):
        parse(preset(tmp_path, params={"strenght": 0.5}))
