"""One flag per setting: `--NAME VALUE` for every field of `Settings`; former names are hidden flags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from luthier.settings import RENAMED, Settings


def add_settings_flags(command: click.Command) -> click.Command:
    """Adds a flag for every setting, with its description and variable, and a hidden one for every former name."""
    for name, field in Settings.model_fields.items():
        text = f"{field.description}  [LUTHIER_{name.upper()}]"
        command.params.append(click.Option([_flag(name)], metavar="VALUE", help=text, show_default=False))
    command.params.extend(click.Option([_flag(name)], hidden=True) for name in RENAMED)
    return command


def settings_from_flags(values: Mapping[str, str | None]) -> Settings:
    """Settings from the flags that were typed, else from the environment. Raises pydantic's ValidationError."""
    return Settings(**{name: _parse(name, value) for name, value in values.items() if value is not None})


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _parse(name: str, value: str) -> Any:
    """Flags are text; mappings such as --aliases are written as JSON."""
    if name != "aliases":
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value  # rejected by Settings, with the type that is expected
