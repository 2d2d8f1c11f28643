"""Parses a list of short texts from a reply: JSON of any plausible structure or numbered lines, with text around it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from luthier.generate.reply_text import unfenced

_LABEL = r"(?:第|问题|题目|消息|示例|question|query|message|item|no\.?|q|#)?"
_EMPHASIS = r"(?:\*\*|__)?"
_PREFIX = (
    rf"\s*(?:>\s*)?(?:[-*•+]\s+|[-*•](?=[\d(（【\[]))?(?P<heading>#{{1,6}}\s+)?(?P<bold>{_EMPHASIS})\s*{_LABEL}\s*"
)
_NUMBERED = re.compile(
    rf"{_PREFIX}[(（【\[]?(?P<number>\d{{1,3}})\s*[题条个]?\s*{_EMPHASIS}\\?[.、)）】\]:：．]{_EMPHASIS}\s*(?P<text>.+?)\s*",
    re.IGNORECASE,
)
_NUMBER_ALONE = re.compile(
    rf"{_PREFIX}[(（【\[]?(?P<number>\d{{1,3}})\s*[题条个]?\s*(?P<mark>\\?[.、)）】\]:：．]?){_EMPHASIS}\s*[:：]?\s*",
    re.IGNORECASE,
)
_TABLE_ROW = re.compile(r"\s*\|\s*(?P<number>\d{1,3})[.、]?\s*\|\s*(?P<text>[^|]+?)\s*(?:\|.*)?")
_BULLET = re.compile(r"\s*[-*•+]\s+(.+)")
_BOLD = re.compile(r"(?<![A-Za-z0-9*])\*\*(?=\S)(.+?)(?<=\S)\*\*(?![A-Za-z0-9*])")
_FENCED_JSON = re.compile(r"```[\w-]*\s*\n(.*?)\n\s*```", re.DOTALL)
_LIST_START = re.compile(r'\s*(?:```(?:json)?\s*)?\{\s*(?:"items"\s*:\s*\[\s*)?')
_QUOTES = {'"': '"', "“": "”", "「": "」", "'": "'", "‘": "’", "《": ""}  # a title's mark is part of the text
_TEXT_KEYS = ("text", "question", "message", "content", "value", "问题", "内容")
_NUMBER_KEYS = ("number", "id", "index", "编号")


Form = Literal["schema", "json", "lines"]


def parse_list(reply: str, count: int) -> tuple[dict[int, str], Form]:
    """The texts of a reply by number, and how they were found: in the requested schema, in other JSON, or in lines."""
    value = read_json(reply)
    texts = _texts_of(value) if isinstance(value, dict | list) else {}
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        return texts, "schema"
    if texts:
        return texts, "json"
    items = complete_items(reply)
    return (_texts_of(items), "json") if items is not None else (numbered_lines(reply, count), "lines")


def read_json(text: str) -> Any:
    """The JSON value in a reply, which may be in a code fence or have words around it; None without valid JSON."""
    fenced = _FENCED_JSON.search(text)
    for candidate in (text, unfenced(text), fenced[1] if fenced else ""):
        value = _loads(candidate)
        if value is not None:
            return value
    start = re.search(r"[{\[]\s*[\"{\[]", text)
    return None if start is None else _raw_decode(text, start.start())


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _raw_decode(text: str, start: int) -> Any:
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def complete_items(text: str) -> list[dict[str, Any]] | None:
    """The complete entries of a JSON list that was truncated; None if the text is not such a list."""
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


def _texts_of(value: Any) -> dict[int, str]:
    """The texts by number in a JSON list of texts or entries, an object with one list, or an object by number."""
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list)]
        if len(lists) == 1:
            return _texts_of(lists[0])
        return {
            int(key): _without_number(text, int(key))
            for key, text in value.items()
            if str(key).isdecimal() and isinstance(text, str)
        }
    texts: dict[int, str] = {}
    for place, entry in enumerate(value, 1):
        number, text = _entry(entry, place)
        if isinstance(text, str):
            texts.setdefault(number, _without_number(text, number))
    return texts


def _entry(entry: Any, place: int) -> tuple[int, Any]:
    """The number and the text of a list element; an element without a number gets its `place`, from 1."""
    if not isinstance(entry, Mapping):
        return place, entry
    number = next((entry[key] for key in _NUMBER_KEYS if key in entry), place)
    number = int(number) if isinstance(number, str) and number.isdecimal() else number
    text = next((entry[key] for key in _TEXT_KEYS if key in entry), None)
    return (number if isinstance(number, int) else place), text


def numbered_lines(text: str, count: int) -> dict[int, str]:
    """The texts of numbered lines (`1. …`) by number; the first line of each number counts.

    Numbers may be in Markdown emphasis, headings or table rows. Without numbered lines, the bullets or else all lines
    are taken if there are exactly `count`; lines that end in a colon are introductions and do not count.
    """
    lines = [line for line in unfenced(text).split("\n") if line.strip() and not line.strip().startswith("```")]
    numbered: dict[int, str] = {}
    for number, line_text in _numbered(lines):
        numbered.setdefault(number, line_text)
    if numbered:
        return numbered
    plain = [line.strip() for line in lines if line.strip()[-1] not in ":："]
    bullets = [match[1].strip() for line in plain if (match := _BULLET.fullmatch(line))]
    for candidates in (bullets, plain):
        if len(candidates) == count:
            return dict(enumerate(candidates, 1))
    return {}


def _numbered(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The numbered lines as pairs of number and text; a number alone on a line numbers the next line."""
    pending: int | None = None
    for line in lines:
        if match := _NUMBERED.fullmatch(line) or _TABLE_ROW.fullmatch(line):
            pending = None
            yield int(match["number"]), match["text"]
        elif (match := _NUMBER_ALONE.fullmatch(line)) and (match["mark"] or match["heading"] or match["bold"]):
            pending = int(match["number"])
        elif pending is not None:
            yield pending, line.strip()
            pending = None


def _without_number(text: str, number: int) -> str:
    """`text` without a leading `number`, which some teachers repeat."""
    match = _NUMBERED.fullmatch(text)
    return match["text"] if match and int(match["number"]) == number else text


def strip_quotes(text: str) -> str:
    """`text` without lone surrogates and without surrounding white space, quotation marks and Markdown bold."""
    text = text.encode("utf-8", "replace").decode().strip()
    text = _BOLD.sub(r"\1", text).strip("*").strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text
