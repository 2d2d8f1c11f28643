"""How commands speak: in the language that `--lang` or the locale names, and without a terminal's control characters.

Imported by the front door before anything else, so it must stay small.
"""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from luthier.language import Language

Command = TypeVar("Command", bound=Callable[..., Any])
VARIABLE = "LUTHIER_LANG"
LANGUAGES: tuple[Language, ...] = ("en", "zh")

# C0 and C1 controls but tab and newline: text of models and servers must not move the cursor or retitle a window.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """`text` without control characters and without halves of surrogate pairs."""
    return _CONTROLS.sub("", text).encode("utf-8", "replace").decode()


def language_of(args: Sequence[str]) -> str | None:
    """The value of `--lang` among `args`, wherever it stands before a `--`."""
    for position, word in enumerate(args):
        if word == "--":
            return None
        if word.startswith("--lang="):
            return word.removeprefix("--lang=")
        if word == "--lang" and position + 1 < len(args):
            return args[position + 1]
    return None


def use_language(ctx: click.Context, language: str | None) -> None:
    """Speak `language` until `ctx` closes, in this process and in the programs that it starts.

    Anything but one of `LANGUAGES` is left for click to refuse.
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


def _speak(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    use_language(ctx, value)


def lang_option(command: Command) -> Command:
    """Adds `--lang`; its help is in both languages, for those who cannot read the current one."""
    add = click.option(
        "--lang",
        type=click.Choice(LANGUAGES),
        expose_value=False,
        is_eager=True,
        callback=_speak,
        help="Speak English or Chinese. 使用英文或中文。",
    )
    return add(command)
