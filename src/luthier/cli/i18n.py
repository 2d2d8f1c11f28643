"""The language of commands (`--lang` or the locale), and text without terminal control characters.

Every command imports this module first, so it must stay small.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from luthier.language import Language

Command = TypeVar("Command", bound=Callable[..., Any])
VARIABLE = "LUTHIER_LANG"
LANGUAGES: tuple[Language, ...] = ("en", "zh")

# C0 and C1 control characters except tab and newline: model output must not move the cursor or change the title.
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """`text` without control characters and lone surrogates."""
    return _CONTROL_CHARACTERS.sub("", text).encode("utf-8", "replace").decode()


def language_of(args: Sequence[str]) -> str | None:
    """The value of `--lang` anywhere in `args` before a `--`."""
    for position, word in enumerate(args):
        if word == "--":
            return None
        if word.startswith("--lang="):
            return word.removeprefix("--lang=")
        if word == "--lang" and position + 1 < len(args):
            return args[position + 1]
    return None


def use_language(ctx: click.Context, language: str | None) -> None:
    """Sets `LUTHIER_LANG` until `ctx` closes, for this process and its child processes.

    Values that are not in `LANGUAGES` are ignored here; click rejects them.
    """
    if language not in LANGUAGES:
        return
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = language

    def restore() -> None:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before

    ctx.call_on_close(restore)


@contextmanager
def language_set(language: str | None) -> Iterator[None]:
    """Sets `LUTHIER_LANG` to `language` for the duration of the context, if that is one of `LANGUAGES`."""
    before = os.environ.get(VARIABLE)
    if language in LANGUAGES:
        os.environ[VARIABLE] = language
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


def _set_language(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    use_language(ctx, value)


def lang_option(command: Command) -> Command:
    """Adds `--lang`, whose help is in both languages, for people who cannot read the current one."""
    option = click.option(
        "--lang",
        type=click.Choice(LANGUAGES),
        expose_value=False,
        is_eager=True,
        callback=_set_language,
        help="Language: English or Chinese. 语言：英文或中文。",
    )
    return option(command)
