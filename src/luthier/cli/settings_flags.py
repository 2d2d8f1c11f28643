"""A flag `--NAME VALUE` for every field of `Settings`; former names of settings are hidden flags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from luthier.cli.settings_texts import CHINESE, TOPICS
from luthier.language import say
from luthier.settings import Settings
from luthier.types.renamed_settings import RENAMED


class SettingsCommand(click.Command):
    """A command whose help groups the settings by topic."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {param.name: param.get_help_record(ctx) for param in self.get_params(ctx)}
        topics = dict.fromkeys((say(*topic), names) for topic, names in TOPICS)
        grouped = {name for _, names in topics for name in names}
        rest = tuple(name for name in records if name in Settings.model_fields and name not in grouped)
        own = tuple(name for name in records if name and name not in Settings.model_fields)
        sections = [(say("Options", "选项"), own), *topics, (say("More settings", "其他设置"), rest)]
        for title, names in sections:
            rows = [record for name in names if (record := records.get(name))]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def add_settings_flags(command: click.Command) -> click.Command:
    """Adds a flag for every setting, with its description and variable, and a hidden one for every former name."""
    for name, field in Settings.model_fields.items():
        text = f"{say(field.description or '', CHINESE.get(name, field.description or ''))}  [LUTHIER_{name.upper()}]"
        command.params.append(click.Option([_flag(name)], metavar="VALUE", help=text, show_default=False))
    command.params.extend(click.Option([_flag(name)], hidden=True) for name in RENAMED)
    return command


def settings_from_flags(values: Mapping[str, str | None]) -> Settings:
    """The settings: those of the flags that were typed, the others from the environment.

    Raises:
        pydantic.ValidationError: A value is invalid.
    """
    return Settings(**{name: _parse(name, value) for name, value in values.items() if value is not None})


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _parse(name: str, value: str) -> Any:
    """The value of a flag: mappings such as --aliases are parsed as JSON, other settings stay text."""
    if name != "aliases":
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value  # Settings rejects it and names the expected type
