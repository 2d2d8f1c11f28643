"""The form of a kind of fault. Knows none of them."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Kind(NamedTuple):
    """The sentences of one code. They may use the fields of `Finding`; `wire` also `{at}`, `{place}` and `{which}`."""

    severity: Severity
    en: str
    zh: str
    remedy_en: str
    remedy_zh: str
    wire: str | Mapping[str, str]  # a mapping chooses by the finding's key
