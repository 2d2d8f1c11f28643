"""The result of a check of `luthier doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """A line of the report; `name` is a stable key, `text` and `remedy` are in the user's language."""

    name: str
    status: Literal["ok", "warning", "error"]
    text: str
    remedy: str = ""
