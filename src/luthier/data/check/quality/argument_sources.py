"""Arguments of calls that nobody has mentioned: a model trained on them learns to invent values.

A value counts as mentioned if it, or a word of it, occurs in an earlier text or in a definition. Dates, truth values
and words of another script are derived rather than copied, and are not judged.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from luthier.data.check.quality.batch import Batch, Call
from luthier.data.check.registry import QualityCheck
from luthier.data.findings import Finding
from luthier.data.findings.kinds import Kind

_DATE = re.compile(r"\d[-/:.年月T]\d|^\d{8}$")
_WORD = re.compile(r"[^\W\d_]{3,}|\d+")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_LATIN = re.compile(r"[A-Za-z]")
_NUMBER_WORDS = re.compile(
    r"[一二两三四五六七八九十百千万亿半]|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|"
    r"fifty|hundred|thousand|million|half|a|an|couple|dozen|once|twice|single|pair)\b|\d\s?[km%]",
    re.IGNORECASE,
)


class ArgumentSourceCheck(QualityCheck):
    """Compares the arguments of each call with the text before it."""

    kinds = {  # noqa: RUF012 - as the base class declares it
        "argument_unmentioned": Kind(
            "note",
            'nothing before the call mentions the value of "{key}": {value}',
            "调用之前没有提到 “{key}” 的值：{value}",
            "Add it to the question or the system prompt, or let the assistant ask for it; otherwise the model learns "
            "to invent values.",
            "请让问题或 system 提示给出这个值，或让 assistant 追问；否则模型会学着编造。",
            "{place}: an argument that nothing mentions",
        )
    }

    def check(self, batch: Batch) -> Iterator[Finding]:
        for call in batch.calls:
            context = f"{_folded(call.context)}\n{_folded_definitions(call.definitions)}"
            for path, value in _leaves(call, context):
                if not is_mentioned(value, context):
                    yield batch.finding("argument_unmentioned", call.example, call.message, key=path, value=value)


def _folded(text: str) -> str:
    return text.casefold().replace(",", "")


_folded_definitions = lru_cache(maxsize=64)(_folded)  # examples of one file mostly have the same ones


def _leaves(call: Call, context: str) -> Iterator[tuple[str, Any]]:
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return
    stack = [("", arguments)]
    while stack:
        path, value = stack.pop()
        members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        stack += [(f"{path}.{key}" if path else f"{key}", member) for key, member in members]
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            yield path, value


def is_mentioned(value: str | int | float, context: str) -> bool:
    """Whether `context` contains the value, a word of it, or something that the value may be derived from.

    `context` is in lower case and has no commas.
    """
    if isinstance(value, int | float):
        forms = {str(value), f"{value:g}", f"{value * 100:g}"}
        return value in (0, 1, -1) or any(form in context for form in forms) or bool(_NUMBER_WORDS.search(context))
    text = _folded(value).strip()
    if len(text) < 2 or len(text) > 60 or text in context or _DATE.search(text):
        return True
    if any(word in context for word in _WORD.findall(text)):
        return True
    han = _HAN.findall(text)
    if han:
        return not _HAN.search(context) or any(char in context for char in han)
    return bool(_LATIN.search(text)) and bool(_HAN.search(context))
