"""Command-line options made from the schema: each field of `Settings` once, under its own name."""

import argparse
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Collection
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from millstream.errors import BadInputError
from millstream.params import Settings, check, load_preset

SCHEMAS: dict[str, type[BaseModel]] = {section: type(default) for section, default in Settings()}
TITLES = {"model": "model", "config": "stream", "params": "parameters"}


class Parser(ArgumentParser):
    """A parser that takes no abbreviations, and whose faults are one line, like all others."""

    def __init__(self, **form: Any) -> None:
        super().__init__(allow_abbrev=False, **form)

    def error(self, message: str) -> NoReturn:
        """Raise BadInputError."""
        raise BadInputError(f"{message}; see `{self.prog} --help`")


def add_options(parser: ArgumentParser, omit: Collection[str] = ()) -> None:
    """Add `--preset` and an option for every field, except those in `omit`, named `section.field`.

    What is not given is not in the namespace. The values stay text: the schema reads and checks them.
    """
    parser.add_argument("--preset", type=Path, metavar="FILE", help="YAML file of these values; options given here win")
    for section, schema in SCHEMAS.items():
        group = parser.add_argument_group(TITLES[section])
        for name, field in schema.model_fields.items():
            dest = f"{section}.{name}"
            if dest not in omit:
                group.add_argument(
                    flag(section, name), dest=dest, default=argparse.SUPPRESS, help=_help(field), **_form(name, field)
                )


def read_settings(options: Namespace) -> Settings:
    """What was given, over the preset, over the defaults. Raises BadInputError where the schema refuses it."""
    preset = (load_preset(options.preset) if options.preset else Settings()).model_dump(exclude_unset=True)
    given = {section: _given(options, section) for section in SCHEMAS}
    _give_way(preset, given)
    values = {section: preset.get(section, {}) | given[section] for section in given}
    _count_steps(values["config"], values["params"])
    settings: Settings = check(Settings, {s: check(schema, values[s]) for s, schema in SCHEMAS.items()})
    return settings


def flag(section: str, name: str) -> str:
    """The option of a field: its name with dashes; the model's name is `--model`."""
    return "--model" if (section, name) == ("model", "name") else "--" + name.replace("_", "-")


def _given(options: Namespace, section: str) -> dict[str, Any]:
    prefix = f"{section}."
    return {key.removeprefix(prefix): value for key, value in vars(options).items() if key.startswith(prefix)}


def _give_way(preset: dict[str, Any], given: dict[str, dict[str, Any]]) -> None:
    """Drop from the preset what an option replaces under another name."""
    if "t_index" in given["params"]:
        preset.get("config", {}).pop("steps", None)
    elif "strength" in given["params"]:
        preset.get("params", {}).pop("t_index", None)


def _count_steps(config: dict[str, Any], params: dict[str, Any]) -> None:
    """Without steps of their own, indices say how many there are."""
    if params.get("t_index"):
        config.setdefault("steps", len(params["t_index"]))


def _form(name: str, field: FieldInfo) -> dict[str, Any]:
    """How argparse reads a field: a switch, a choice, several numbers, one more each time, or one value."""
    kind = _without_none(field.annotation)
    if kind is bool:
        return {"action": BooleanOptionalAction}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if get_origin(kind) is not tuple:
        return {"metavar": {int: "N", float: "X"}.get(kind, name.upper())}
    return {"nargs": "+", "metavar": "N"} if get_args(kind)[0] is int else {"action": "append", "metavar": name.upper()}


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is not UnionType:
        return annotation
    (kind,) = (part for part in get_args(annotation) if part is not NoneType)
    return kind


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    default = {True: "on", False: "off"}[field.default] if isinstance(field.default, bool) else field.default
    return f"{text} (default: {default})" if isinstance(default, str | int | float) and default != "" else text
