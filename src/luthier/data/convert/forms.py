"""UTF-8 text or a binary table → its records: JSON lines, one JSON array, indented JSON, CSV, XLSX, Parquet.

A record is a JSON value (for a table row an object, cells by column), or the bytes of a line that is not JSON.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from luthier.data.convert.records import HISTORIES
from luthier.data.convert.shapes import CONVERSATIONS
from luthier.data.convert.tables import csv_rows, has_known_names, looks_like_table, open_table, records
from luthier.data.convert.workbooks import PARQUET, is_workbook, parquet_rows, workbook_rows
from luthier.data.examples.example import kind_of
from luthier.data.findings import FindingError, make_finding
from luthier.data.jsonl.reader import MAX_LINE_BYTES, Line, parse_json, parse_line, read_lines

_SAMPLE_SIZE = 50  # records from which the shape is recognised
_CHUNK = 256 * 1024
_BETWEEN_VALUES = " \t\r\n,"  # commas separate the elements of an array
_DELIMITERS = ",\t;|"
_SPLIT_KEYS = frozenset(("columns", "index", "data"))  # of pandas
_CONVERSATION_COLUMNS = frozenset(("messages", "conversations", "conversation"))
_JSON_IN_TEXT = re.compile(r"""[\[{]\s*["'{\[]|["']\s*:""")  # never occurs in a column name


class Form(NamedTuple):
    """A recognised file format. `name` is for people, "" for JSON lines. `records` can be called several times.

    `unused`: members of the object that encloses the records; `titles`: texts above the header of a table.
    """

    name: str
    records: Callable[[], Iterator[Any]]
    is_table: bool = False
    unused: dict[str, Any] = {}  # noqa: RUF012 - never changed
    titles: Sequence[str] = ()

    def sample(self) -> list[Any]:
        """The first records."""
        return list(islice(self.records(), _SAMPLE_SIZE))


def recognise_form(path: Path, sheet: str | None, named: Sequence[str] = (), *, is_csv: bool = False) -> Form:
    """The format of a UTF-8 file or of a binary table.

    Args:
        path: The file.
        sheet: The sheet to read of a workbook; None: the only one with data.
        named: Names of columns that the caller specifies.
        is_csv: Whether the file's name says that it is CSV; decides for text that has columns and no known header.

    Raises:
        FindingError: The workbook or the table is ambiguous.
    """
    with path.open("rb") as file:
        head = file.read(_CHUNK)
    if is_workbook(head):
        rows = workbook_rows(path, sheet)
        return _table("XLSX table", lambda: open_table(rows(), named, is_text=False))
    if head.startswith(PARQUET):
        return Form("Parquet table", lambda: parquet_rows(path), is_table=True)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"[") and start[1:].lstrip().startswith((b"{", b"]")) and _is_one_array(start):
        return _unwrapped(Form("JSON array", lambda: _values(path, inside_array=True)))
    if start.startswith(b"{"):
        name = "indented JSON" if _is_indented(start) else "JSON objects in one line" if _is_chain(start) else ""
        return _unwrapped(Form(name, lambda: _values(path) if name else _lines(path)))
    delimiter = _delimiter(start)
    if delimiter is None or not (is_csv or looks_like_table(csv_rows(path, delimiter))):
        return Form("", lambda: _lines(path))
    return _table("CSV table", lambda: open_table(csv_rows(path, delimiter), named))


def _table(name: str, open_rows: Callable[[], Any]) -> Form:
    return Form(name, lambda: records(open_rows()), is_table=True, titles=open_rows().titles)


def _unwrapped(form: Form) -> Form:
    """The records inside a file's single object: a list under one key, or the columns that pandas writes."""
    first = list(islice(form.records(), 2))
    value = first[0] if len(first) == 1 else None
    if not isinstance(value, dict) or kind_of(value):
        return form
    if rows := _pandas_rows(value):
        rest = {key: member for key, member in value.items() if key not in _SPLIT_KEYS and key not in rows[0]}
        return Form("pandas columns", lambda: iter(rows), is_table=True, unused=rest)
    lists = [
        key
        for key, member in value.items()
        if _is_list_of_examples(member) and ("conversation" not in key.lower() or kind_of(member[0]))
    ]
    if len(lists) != 1:
        return form
    name, rest = lists[0], {key: member for key, member in value.items() if key != lists[0]}
    if has_known_names(rest, at_least=1 if _names_turns(name) else 2):  # an example that has a list beside its texts
        return form
    return Form(f"one object with the list {name}", lambda: iter(value[name]), unused=rest)


def _names_turns(key: str) -> bool:
    """Whether a list under this key, beside a text, is the conversation before it."""
    name = key.strip().lower()
    return name in CONVERSATIONS or any(word in name for word in HISTORIES)


def _is_list_of_examples(value: Any) -> bool:
    """Whether it is a list of objects whose keys are those of examples in a known shape."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(member, dict) for member in value)
        and has_known_names(value[0], at_least=1)
        and not value[0].keys() & {"role", "from"}
    )


def _pandas_rows(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an object that DataFrame.to_json writes, with orient "columns" or "split"; [] for any other."""
    columns = list(value.values())
    are_columns = columns and all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns)
    if are_columns and all(key.isdigit() for key in columns[0]):
        return [{name: column[key] for name, column in value.items()} for key in columns[0]]
    names, data = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not isinstance(data, list):
        return []
    are_rows = all(isinstance(row, list) and len(row) == len(names) for row in data)
    return [dict(zip(names, row, strict=True)) for row in data] if are_rows else []


def _lines(path: Path) -> Iterator[Any]:
    """The value of each line. A comma after it, as in an array without its brackets, is ignored."""
    for line in read_lines(path):
        bare = line.raw.rstrip().removesuffix(b",")
        value = _value(line)
        if isinstance(value, bytes) and bare != line.raw:
            value = _value(replace(line, raw=bare))
        yield line.raw if isinstance(value, bytes) else value


def _value(line: Line) -> Any:
    """The JSON value of a line; its bytes if it has none, or an ambiguous one.

    NaN and bytes that are not UTF-8 (as surrogates) remain in the value, which is converted like the others: the check
    names them, and a repair replaces them.
    """
    with suppress(FindingError):
        return parse_line(line)
    with suppress(FindingError):
        return line.raw if line.is_truncated else parse_json(line.raw.decode(errors="surrogateescape"), with_nan=True)
    return line.raw


def _is_one_array(start: bytes) -> bool:
    """Whether the whole file is one array. One array per line is JSON lines, though not of examples."""
    first = start.split(b"\n", 1)
    try:
        json.loads(first[0])
    except (ValueError, RecursionError):
        return True
    return len(first) == 1 or not first[1].strip()


def _is_indented(start: bytes) -> bool:
    """Whether the first object continues after its first line."""
    text = start.decode("utf-8", "ignore")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        # The first object may be longer than `start`. If it is indented JSON, its first line is short.
        return len(start) > _CHUNK // 2 and text.split("\n", 1)[0].rstrip() in ("{", '{"messages": [', "{[")
    return "\n" in text[:end]


def _is_chain(start: bytes) -> bool:
    """Whether a second object follows the first one directly."""
    try:
        line = start.split(b"\n", 1)[0].decode("utf-8", "ignore")
        _, end = json.JSONDecoder().raw_decode(line)
    except (ValueError, RecursionError):
        return False
    return line[end:].lstrip(" \t,").startswith("{")


def _values(path: Path, *, inside_array: bool = False) -> Iterator[Any]:
    """Consecutive JSON values, read in chunks. An ambiguous value is yielded as the bytes of its text, and text that is
    not JSON with everything after it.
    """
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        text = file.read(_CHUNK).lstrip()
        text = text[1:] if inside_array else text
        while True:
            text = text.lstrip(_BETWEEN_VALUES)
            try:
                value, end = decoder.raw_decode(text)
            except (ValueError, RecursionError):
                more = file.read(max(_CHUNK, len(text)))  # doubles the text, so that a long value takes linear time
                if not more:
                    rest = text.strip()
                    if rest and not (inside_array and rest == "]"):
                        yield " ".join(rest[:_CHUNK].split()).encode(errors="surrogateescape")
                    return
                if len(text) > MAX_LINE_BYTES:
                    raise FindingError(make_finding("line_too_long", detail=f"{MAX_LINE_BYTES // 2**20} MiB")) from None
                text += more
                continue
            if end == len(text) and not isinstance(value, dict | list) and (more := file.read(_CHUNK)):
                text += more  # a number may continue
                continue
            raw = text[:end].encode(errors="surrogateescape").replace(b"\r", b" ").replace(b"\n", b" ")
            yield _value(Line(0, raw, 0))  # no line break was in a string
            text = text[end:]


def _delimiter(start: bytes) -> str | None:
    """The separator of the columns in the first line; None if it has no columns. Raises FindingError."""
    header = start.split(b"\n", 1)[0].decode("utf-8", "replace")
    if _JSON_IN_TEXT.search(header) or _is_json(header):
        return None
    candidates = [delimiter for delimiter in _DELIMITERS if delimiter in header]
    if header.strip().strip('"').lower() in _CONVERSATION_COLUMNS:  # the only column
        return ","
    if len(candidates) > 1 and "\t" in candidates:
        candidates = [delimiter for delimiter in candidates if delimiter in "\t;,"][:1]
    if len(candidates) > 1:
        raise FindingError(make_finding("columns_ambiguous", value=header, detail="delimiters"))
    return candidates[0] if candidates else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
