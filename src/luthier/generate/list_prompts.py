"""Asking a teacher for a numbered list of short texts, and reading what comes: the one shape of all planning requests.

Where the teacher takes a JSON schema, the list comes as JSON and has no room for "好的，以下是……" around it; else it is
asked for as numbered lines, and whatever is not such a line is dropped. Knows nothing about what the texts are.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from luthier.generate.errors import AskError, BadAskError
from luthier.generate.journal import Ask
from luthier.generate.teacher import Teacher
from luthier.language import Language, say

_MOST_SHOWN = 40  # earlier texts that a request shows
_NUMBERED = re.compile(r"^\s*(?:[-*•]\s*)?[(（【\[]?(\d{1,3})\s*[.、)）】\]:：．]\s*(.+?)\s*$")
_FENCE = re.compile(r"^```(?:json)?\s*\n(.*?)\n```\s*$", re.DOTALL)
_BEGUN = re.compile(r'\s*(?:```(?:json)?\s*)?\{\s*(?:"items"\s*:\s*\[\s*)?')
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
_PROBE: dict[str, Any] = {
    "type": "object",
    "properties": {"capital": {"type": "string"}},
    "required": ["capital"],
    "additionalProperties": False,
}


async def takes_schema(teacher: Teacher) -> bool:
    """Whether the teacher answers in JSON when a schema asks for it; probed once per journal.

    A service may refuse `response_format`, or take it and ignore it: so the probe's words do not ask for JSON.
    """
    name = f"takes_schema {teacher.model}"
    noted = teacher.journal.fact(name)
    if noted is not None:
        return bool(noted)
    question = {"role": "user", "content": "What is the capital of France?"}
    try:
        reply = await teacher.ask(Ask("probe", (question,), max_tokens=64, temperature=0.0, schema=_PROBE))
        value = read_json(reply.text)
        taken = isinstance(value, dict) and isinstance(value.get("capital"), str)
    except BadAskError:
        taken = False
    teacher.journal.note(name, taken)
    return taken


def with_earlier(wish: str, head: str, earlier: Sequence[str]) -> str:
    """`wish`, and under `head` the newest of the `earlier` texts, which are not to come again."""
    return "\n".join([wish, head, *(f"- {text}" for text in earlier[-_MOST_SHOWN:])]) if earlier else wish


class Lists:
    """Asks `teacher` for lists; `counts` tells how many replies were bad JSON or cut off."""

    def __init__(self, teacher: Teacher, structured: bool, temperature: float = 0.7) -> None:
        self.teacher, self.structured, self.counts = teacher, structured, Counter[str]()
        self._temperature = temperature

    async def ask(
        self,
        slot: str,
        system: str,
        wish: str,
        count: int,
        language: Language,
        *,
        tokens_each: int = 100,
        last: bool = False,
    ) -> dict[int, str]:
        """Texts by number, 1 to `count`; numbers that did not come, or not readably, are missing.

        What fails stays failed in reruns, unless it is the `last` try and hardly anything hangs on it.
        """
        form = "" if self.structured else _plain_form(count, language)
        messages = ({"role": "system", "content": system}, {"role": "user", "content": wish + form})
        ask = Ask(slot, messages, 64 + tokens_each * count, self._temperature, _SCHEMA if self.structured else None)
        try:
            reply = await self.teacher.ask(ask)
        except AskError as error:
            if not last:
                self.teacher.go_without(ask, error)
            raise
        cut = reply.finish_reason == "length"
        self.counts["lists_cut_off"] += cut
        found = self._items(reply.text, count) if self.structured else plain_lines(reply.text, count)
        if cut and found and not self.structured:
            found.pop(max(found))  # its end is missing
        return {number: bare(text) for number, text in found.items() if 1 <= number <= count and bare(text)}

    def _items(self, text: str, count: int) -> dict[int, str]:
        value = read_json(text)
        items = value.get("items") if isinstance(value, dict) else None
        if not isinstance(items, list):
            self.counts["bad_json"] += 1
            items = whole_items(text)
            if items is None:
                return plain_lines(text, count)
        pairs = [(item.get("number"), item.get("text")) for item in items if isinstance(item, dict)]
        return {
            number: _without_number(words, number)
            for number, words in pairs
            if isinstance(number, int) and isinstance(words, str)
        }


def read_json(text: str) -> Any:
    """The JSON value of a reply, also inside a code fence; None for anything else."""
    fenced = _FENCE.match(text.strip())
    try:
        return json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None


def whole_items(text: str) -> list[dict[str, Any]] | None:
    """The entries that are whole in a list whose JSON ends too early; None for a text that is no such list."""
    begun = _BEGUN.match(text)
    if begun is None:
        return None
    found: list[dict[str, Any]] = []
    place, decoder = begun.end(), json.JSONDecoder()
    while True:
        try:
            item, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return found
        if isinstance(item, dict):
            found.append(item)
        while text[place : place + 1] in set(" \t\r\n,"):
            place += 1


def plain_lines(text: str, count: int) -> dict[int, str]:
    """`1. …` lines by number, the first of each; where none is numbered, the lines as they stand if there are `count`.

    A line that ends with a colon announces others and is none of them.
    """
    found: dict[int, str] = {}
    for line in text.split("\n"):
        if match := _NUMBERED.match(line):
            found.setdefault(int(match[1]), match[2])
    lines = [line.strip() for line in text.split("\n") if line.strip() and line.strip()[-1] not in ":："]
    return found or (dict(enumerate(lines, 1)) if len(lines) == count else {})


def _without_number(text: str, number: int) -> str:
    """Some teachers write the number once more before the text."""
    match = _NUMBERED.match(text)
    return match[2] if match and int(match[1]) == number else text


def bare(text: str) -> str:
    """Without white space and quotation marks around it, and without halves of characters."""
    text = text.encode("utf-8", "replace").decode().strip().strip("*").strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text


def _plain_form(count: int, language: Language) -> str:
    if count == 1:
        return say("\n\nWrite this one line and nothing else.", "\n\n只输出这一行，不要输出任何其他文字。", language)
    return say(
        f"\n\nWrite exactly {count} lines, each beginning with its number: 1. to {count}. Write nothing else.",
        f"\n\n只输出 {count} 行，每行以编号开头，从“1.”到“{count}.”，不要输出任何其他文字。",
        language,
    )
