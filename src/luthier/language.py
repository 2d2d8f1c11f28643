"""The language of the user: English or Chinese.

Every sentence for people is written in both, side by side, and selected here. What travels over the API stays English,
word for word as OpenAI sends it.
"""

import os
from typing import Literal

Language = Literal["en", "zh"]


def current() -> Language:
    """The language of the environment: `LUTHIER_LANG`, else the locale variables in POSIX order, else English."""
    for name in ("LUTHIER_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def say(en: str, zh: str, language: Language | None = None) -> str:
    """`en` or `zh`, by `language` (default: that of the environment)."""
    return zh if (language or current()) == "zh" else en
