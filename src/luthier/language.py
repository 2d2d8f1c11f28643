"""The language of the user: English or Chinese.

Every sentence for people is written in both, side by side, and selected here. What travels over the API is English,
word for word as OpenAI sends it, unless a request asks for Chinese.
"""

import os
from contextvars import ContextVar
from typing import Literal

Language = Literal["en", "zh"]

# Set while a request is answered that asks for a language, whatever the server's environment.
of_request: ContextVar[Language | None] = ContextVar("of_request", default=None)


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
