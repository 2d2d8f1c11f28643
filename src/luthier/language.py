"""The language of the user: English or Chinese.

Every sentence for people is written in both, side by side, and selected here. What travels over the API is English,
word for word as OpenAI sends it, unless a request asks for Chinese.
"""

import os
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Literal

Language = Literal["en", "zh"]

# Set while a request is answered that asks for a language, whatever the server's environment.
of_request: ContextVar[Language | None] = ContextVar("of_request", default=None)
_MAX_MATCHED_CHARACTERS = 2000  # patterns with several gaps take long on long texts


def current() -> Language:
    """The language of the request, else that of the environment.

    The latter is `LUTHIER_LANG`, else that of the locale variables in POSIX order, else English.
    """
    requested = of_request.get()
    if requested:
        return requested
    for name in ("LUTHIER_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def say(en: str, zh: str, language: Language | None = None) -> str:
    """`en` or `zh`, by `language` (default: the current one)."""
    return zh if (language or current()) == "zh" else en


class ChineseTexts:
    """Chinese for English sentences, in which `{name}` stands for whatever a sentence quotes."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """`pairs`: (English, Chinese), with the same names in both; the more specific sentences first."""
        self._patterns = [
            (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.*?)", re.escape(english)), re.DOTALL), chinese)
            for english, chinese in pairs
        ]

    def of(self, sentence: str, translate: Callable[[str, str], str] = lambda name, quoted: quoted) -> str | None:
        """The sentence in Chinese; None if it is not known. `translate`: a quoted text, by its name, in Chinese."""
        for pattern, chinese in self._patterns if len(sentence) <= _MAX_MATCHED_CHARACTERS else ():
            if match := pattern.fullmatch(sentence):
                return chinese.format_map({name: translate(name, quoted) for name, quoted in match.groupdict().items()})
        return None
