"""Requests a numbered list of short texts and parses the reply: the one shape of all planning requests.

Teachers that support JSON schemas return the list as JSON, which has no room for "好的，以下是……" around it; others are
asked for numbered lines, and any other line is dropped.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from luthier.generate.errors import RequestFailedError, RequestRejectedError
from luthier.generate.journal import TeacherRequest
from luthier.generate.teacher import Teacher
from luthier.language import Language, say

_MAX_EXISTING_SHOWN = 40  # texts that a prompt shows
_NUMBERED = re.compile(r"^\s*(?:[-*•]\s*)?[(（【\[]?(\d{1,3})\s*[.、)）】\]:：．]\s*(.+?)\s*$")
_FENCE = re.compile(r"^```(?:json)?\s*\n(.*?)\n```\s*$", re.DOTALL)
_LIST_START = re.compile(r'\s*(?:```(?:json)?\s*)?\{\s*(?:"items"\s*:\s*\[\s*)?')
_QUOTES = {'"': '"', "“": "”", "「": "」", "'": "'", "‘": "’", "《": ""}  # a title's mark is part of the text
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"number": {"type": "integer"}, "text": {"type": "string"}},
                "required": ["number", "text"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["items"],
    "additionalProperties": False,
}
_PROBE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"capital": {"type": "string"}},
    "required": ["capital"],
    "additionalProperties": False,
}


async def supports_json_schema(teacher: Teacher) -> bool:
    """Whether the teacher answers in JSON when given a schema; probed once per journal.

    A service may reject `response_format`, or accept and ignore it, so the probe's text does not ask for JSON.
    """
    fact = f"takes_schema {teacher.model}"
    recorded = teacher.journal.get_fact(fact)
    if recorded is not None:
        return bool(recorded)
    question = {"role": "user", "content": "What is the capital of France?"}
    try:
        reply = await teacher.ask(
            TeacherRequest("probe", (question,), max_tokens=64, temperature=0.0, schema=_PROBE_SCHEMA)
        )
        value = read_json(reply.text)
        is_supported = isinstance(value, dict) and isinstance(value.get("capital"), str)
    except RequestRejectedError:
        is_supported = False
    teacher.journal.set_fact(fact, is_supported)
    return is_supported


def with_existing_texts(prompt: str, heading: str, existing: Sequence[str]) -> str:
    """`prompt`, followed by `heading` and the newest of the `existing` texts, which are not to be repeated."""
    lines = [f"- {text}" for text in existing[-_MAX_EXISTING_SHOWN:]]
    return "\n".join([prompt, heading, *lines]) if lines else prompt


class ListPrompter:
    """`counts`: replies that were invalid JSON or truncated."""

    def __init__(self, teacher: Teacher, structured: bool, temperature: float = 0.7) -> None:
        self.teacher, self.structured, self.counts = teacher, structured, Counter[str]()
        self._temperature = temperature

    async def request_list(
        self,
        slot: str,
        system: str,
        prompt: str,
        count: int,
        language: Language,
        *,
        tokens_per_text: int = 100,
        last: bool = False,
    ) -> dict[int, str]:
        """Texts by number, 1 to `count`; numbers that are missing or unreadable in the reply are absent.

        A failed request stays failed in reruns, unless it is the `last` try and hardly anything depends on it.
        """
        instruction = "" if self.structured else _numbered_lines_instruction(count, language)
        messages = ({"role": "system", "content": system}, {"role": "user", "content": prompt + instruction})
        schema = _SCHEMA if self.structured else None
        request = TeacherRequest(slot, messages, 64 + tokens_per_text * count, self._temperature, schema)
        try:
            reply = await self.teacher.ask(request)
        except RequestFailedError as error:
            if not last:
                self.teacher.mark_given_up(request, error)
            raise
        is_truncated = reply.finish_reason == "length"
        self.counts["lists_cut_off"] += is_truncated
        texts = self._parse_items(reply.text, count) if self.structured else numbered_lines(reply.text, count)
        if is_truncated and texts and not self.structured:
            texts.pop(max(texts))  # its end is missing
        return {
            number: strip_quotes(text) for number, text in texts.items() if 1 <= number <= count and strip_quotes(text)
        }

    def _parse_items(self, reply: str, count: int) -> dict[int, str]:
        value = read_json(reply)
        items = value.get("items") if isinstance(value, dict) else None
        if not isinstance(items, list):
            self.counts["bad_json"] += 1
            items = complete_items(reply)
            if items is None:
                return numbered_lines(reply, count)
        pairs = [(entry.get("number"), entry.get("text")) for entry in items if isinstance(entry, dict)]
        return {
            number: _without_number(text, number)
            for number, text in pairs
            if isinstance(number, int) and isinstance(text, str)
        }


def read_json(text: str) -> Any:
    """The JSON value of a reply, also inside a code fence; None for anything else."""
    fenced = _FENCE.match(text.strip())
    try:
        return json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None


def complete_items(text: str) -> list[dict[str, Any]] | None:
    """The complete entries of a list whose JSON was truncated; None for a text that is not such a list."""
    start = _LIST_START.match(text)
    if start is None:
        return None
    entries: list[dict[str, Any]] = []
    position, decoder = start.end(), json.JSONDecoder()
    while True:
        try:
            entry, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            return entries
        if isinstance(entry, dict):
            entries.append(entry)
        while text[position : position + 1] in set(" \t\r\n,"):
            position += 1


def numbered_lines(text: str, count: int) -> dict[int, str]:
    """`1. …` lines by number, the first of each; without any, all lines if there are exactly `count`.

    A line that ends with a colon introduces others and does not count.
    """
    numbered: dict[int, str] = {}
    for line in text.split("\n"):
        if match := _NUMBERED.match(line):
            numbered.setdefault(int(match[1]), match[2])
    lines = [line.strip() for line in text.split("\n") if line.strip() and line.strip()[-1] not in ":："]
    return numbered or (dict(enumerate(lines, 1)) if len(lines) == count else {})


def _without_number(text: str, number: int) -> str:
    """Some teachers repeat the number before the text."""
    match = _NUMBERED.match(text)
    return match[2] if match and int(match[1]) == number else text


def strip_quotes(text: str) -> str:
    """Without surrounding white space, quotation marks and lone surrogates."""
    text = text.encode("utf-8", "replace").decode().strip().strip("*").strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text


def _numbered_lines_instruction(count: int, language: Language) -> str:
    if count == 1:
        return say("\n\nWrite this one line and nothing else.", "\n\n只输出这一行，不要输出任何其他文字。", language)
    return say(
        f"\n\nWrite exactly {count} lines, each beginning with its number: 1. to {count}. Write nothing else.",
        f"\n\n只输出 {count} 行，每行以编号开头，从“1.”到“{count}.”，不要输出任何其他文字。",
        language,
    )
