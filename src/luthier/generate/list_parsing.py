"""Parses a list of short texts from a reply: JSON of any plausible shape, numbered lines, and what surrounds them."""

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
    """(texts by number, the form they came in: the requested schema, other or incomplete JSON, or lines)."""
    value = read_json(reply)
    texts = _texts_of(value) if isinstance(value, dict | list) else {}
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        return texts, "schema"
    if texts:
        return texts, "json"
    items = complete_items(reply)
    return (_texts_of(items), "json") if items is not None else (numbered_lines(reply, count), "lines")


def read_json(text: str) -> Any:
    """The JSON value of a reply, also inside a code fence or with words before and after it; None for anything else."""
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


def _texts_of(value: Any) -> dict[int, str]:
    """Of a list of texts or entries, of an object that holds one, or of texts by number."""
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
    """(number, text) of one element of a list; an element without a number has its place."""
    if not isinstance(entry, Mapping):
        return place, entry
    number = next((entry[key] for key in _NUMBER_KEYS if key in entry), place)
    number = int(number) if isinstance(number, str) and number.isdecimal() else number
    text = next((entry[key] for key in _TEXT_KEYS if key in entry), None)
    return (number if isinstance(number, int) else place), text


def numbered_lines(text: str, count: int) -> dict[int, str]:
    """`1. …` lines by number, the first of each; without any, all lines or bullets if there are exactly `count`.

    Marks of Markdown around a number and rows of a table count as well. A line that ends with a colon introduces others
    and does not count.
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
    """Numbers with their texts; a number alone on its line belongs to the next line."""
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
    """Some teachers repeat the number before the text."""
    match = _NUMBERED.fullmatch(text)
    return match["text"] if match and int(match["number"]) == number else text


def strip_quotes(text: str) -> str:
    """Without surrounding white space, quotation marks, Markdown's bold and lone surrogates."""
    text = text.encode("utf-8", "replace").decode().strip()
    text = _BOLD.sub(r"\1", text).strip("*").strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    return text
