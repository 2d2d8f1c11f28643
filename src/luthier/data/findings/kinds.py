"""The fields of a kind of finding."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Kind(NamedTuple):
    """The sentences of one code, with the fields of `Finding` as placeholders.

    `wire` also has `{at}`, `{place}` and `{which}`; a mapping selects its sentence by the finding's key.
    """

    severity: Severity
    en: str
    zh: str
    remedy_en: str
    remedy_zh: str
    wire: str | Mapping[str, str]
