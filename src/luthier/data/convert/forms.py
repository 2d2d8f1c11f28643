"""UTF-8 text or a workbook → the items that it holds: JSON lines, one JSON array, indented JSON, CSV, XLSX.

An item is a JSON value (a table's row is an object of its cells by column), or the bytes of a line that is no JSON.
Knows nothing of what the items mean.
"""

import csv
import json
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from luthier.data.findings import FindingError, problem
from luthier.data.jsonl.reader import MAX_LINE_BYTES, parse_line, read_lines

_SAMPLE = 50  # items that are looked at to recognise the shape
_PIECE = 256 * 1024
_SPACE = " \t\r\n,"  # what may stand between values; commas between the elements of an array
_DELIMITERS = ",\t;|"


class Form(NamedTuple):
    """`name` is what to call it, or "" for JSON lines. `items` may be asked for several times."""

    name: str
    items: Callable[[], Iterator[Any]]
    is_table: bool = False

    def sample(self) -> list[Any]:
        """The first items."""
        return list(islice(self.items(), _SAMPLE))


def recognise_form(path: Path, sheet: str | None) -> Form:
    """Raises `FindingError` on a workbook or a table that can be read in two ways."""
    with path.open("rb") as file:
        head = file.read(_PIECE)
    if head.startswith(b"PK\x03\x04"):
        return _workbook(path, sheet)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"[") and start[1:].lstrip().startswith((b"{", b"]")) and _is_one_array(start):
        return Form("JSON array", lambda: _values(path, inside_array=True))
    if start.startswith(b"{"):
        return Form("indented JSON", lambda: _values(path)) if _is_indented(start) else Form("", lambda: _lines(path))
    delimiter = _delimiter(start)
    if delimiter is None:
        return Form("", lambda: _lines(path))
    return Form("CSV table", lambda: _rows(path, delimiter), is_table=True)


def _lines(path: Path) -> Iterator[Any]:
    for line in read_lines(path):
        try:
            yield parse_line(line)
        except FindingError:
            yield line.raw


def _is_one_array(start: bytes) -> bool:
    """Not one array per line: those are JSON lines, though not of examples."""
    first = start.split(b"\n", 1)
    try:
        json.loads(first[0])
    except (ValueError, RecursionError):
        return True
    return len(first) == 1 or not first[1].strip()


def _is_indented(start: bytes) -> bool:
    """Whether the first object goes on after its first line. Only such a line is no JSON itself."""
    text = start.decode("utf-8", "ignore")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        # The first object may be longer than what was read: then its lines are short and open like indented ones.
        return len(start) > _PIECE // 2 and text.split("\n", 1)[0].rstrip() in ("{", '{"messages": [', "{[")
    return "\n" in text[:end]


def _values(path: Path, *, inside_array: bool = False) -> Iterator[Any]:
    """JSON values one after the other, read piece by piece. What is no JSON is passed on, with all that follows it."""
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        text = file.read(_PIECE).lstrip()
        text = text[1:] if inside_array else text
        while True:
            text = text.lstrip(_SPACE)
            try:
                value, end = decoder.raw_decode(text)
            except (ValueError, RecursionError):
                more = file.read(max(_PIECE, len(text)))  # as much again, so that a long value costs no square
                if not more:
                    rest = text.strip()
                    if rest and not (inside_array and rest == "]"):
                        yield " ".join(rest[:_PIECE].split()).encode(errors="surrogateescape")
                    return
                if len(text) > MAX_LINE_BYTES:
                    raise FindingError(problem("line_too_long", detail=f"{MAX_LINE_BYTES // 2**20} MiB")) from None
                text += more
                continue
            if end == len(text) and not isinstance(value, dict | list) and (more := file.read(_PIECE)):
                text += more  # a number may go on
                continue
            yield value
            text = text[end:]


def _delimiter(start: bytes) -> str | None:
    """What separates the columns of the first line; None if it has no columns."""
    header = start.split(b"\n", 1)[0].decode("utf-8", "replace")
    found = [delimiter for delimiter in _DELIMITERS if delimiter in header]
    if len(found) > 1:
        found = [delimiter for delimiter in found if delimiter in "\t;,"][:1] if "\t" in found else found
    if len(found) > 1:
        raise FindingError(problem("columns_ambiguous", seen=header, detail=" ".join(found)))
    return found[0] if found else None


def _rows(path: Path, delimiter: str) -> Iterator[dict[str, str]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            rows = csv.reader(file, delimiter=delimiter)
            columns = [name.strip() for name in next(rows, [])]
            for row in rows:
                if any(cell.strip() for cell in row):
                    yield dict(zip(columns, row, strict=False))
        except csv.Error as error:
            raise FindingError(problem("columns_ambiguous", seen=str(error))) from error


def _workbook(path: Path, sheet: str | None) -> Form:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with path.open("rb") as file:
            names = load_workbook(file, read_only=True, data_only=True).sheetnames
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise FindingError(problem("encoding_invalid", seen="zip")) from error
    if (sheet or names[0]) not in names or (len(names) > 1 and not sheet):
        raise FindingError(problem("sheets_ambiguous", seen=", ".join(names)))
    chosen = sheet or names[0]

    def rows() -> Iterator[dict[str, str]]:
        with path.open("rb") as file:
            found = load_workbook(file, read_only=True, data_only=True)[chosen].iter_rows(values_only=True)
            columns = ["" if cell is None else str(cell).strip() for cell in next(found, ())]
            for row in found:
                if any(cell is not None and str(cell).strip() for cell in row):
                    yield {name: _cell(cell) for name, cell in zip(columns, row, strict=False) if name}

    return Form("XLSX table", rows, is_table=True)


def _cell(cell: object) -> str:
    return "" if cell is None else str(cell)
