"""UTF-8 text or a workbook → its records: JSON lines, one JSON array, indented JSON, CSV, XLSX.

A record is a JSON value (a row of a table is an object, cells by column), or the bytes of a line that is no JSON.
"""

import csv
import json
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from luthier.data.findings import FindingError, make_finding
from luthier.data.jsonl.reader import MAX_LINE_BYTES, parse_line, read_lines

_SAMPLE_SIZE = 50  # records from which the shape is recognised
_CHUNK = 256 * 1024
_BETWEEN_VALUES = " \t\r\n,"  # commas separate the elements of an array
_DELIMITERS = ",\t;|"


class Form(NamedTuple):
    """A recognised file format. `name` is for people, "" for JSON lines. `records` can be called several times."""

    name: str
    records: Callable[[], Iterator[Any]]
    is_table: bool = False

    def sample(self) -> list[Any]:
        """The first records."""
        return list(islice(self.records(), _SAMPLE_SIZE))


def recognise_form(path: Path, sheet: str | None) -> Form:
    """Raises `FindingError` for a workbook or a table that is ambiguous."""
    with path.open("rb") as file:
        head = file.read(_CHUNK)
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
    """Whether it is one array for the whole file. One array per line is JSON lines, though not of examples."""
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
        # The first object may be longer than the head: then its first line is short, as in indented JSON.
        return len(start) > _CHUNK // 2 and text.split("\n", 1)[0].rstrip() in ("{", '{"messages": [', "{[")
    return "\n" in text[:end]


def _values(path: Path, *, inside_array: bool = False) -> Iterator[Any]:
    """Consecutive JSON values, read in chunks. Text that is no JSON is yielded as bytes, with everything after it."""
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
            yield value
            text = text[end:]


def _delimiter(start: bytes) -> str | None:
    """The separator of the columns in the first line; None if it has no columns."""
    header = start.split(b"\n", 1)[0].decode("utf-8", "replace")
    candidates = [delimiter for delimiter in _DELIMITERS if delimiter in header]
    if len(candidates) > 1 and "\t" in candidates:
        candidates = [delimiter for delimiter in candidates if delimiter in "\t;,"][:1]
    if len(candidates) > 1:
        raise FindingError(make_finding("columns_ambiguous", value=header, detail=" ".join(candidates)))
    return candidates[0] if candidates else None


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
            raise FindingError(make_finding("columns_ambiguous", value=str(error))) from error


def _workbook(path: Path, sheet: str | None) -> Form:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with path.open("rb") as file:
            names = load_workbook(file, read_only=True, data_only=True).sheetnames
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise FindingError(make_finding("encoding_invalid", value="zip")) from error
    if (sheet or names[0]) not in names or (len(names) > 1 and not sheet):
        raise FindingError(make_finding("sheets_ambiguous", value=", ".join(names)))
    sheet_name = sheet or names[0]

    def rows() -> Iterator[dict[str, str]]:
        with path.open("rb") as file:
            cells = load_workbook(file, read_only=True, data_only=True)[sheet_name].iter_rows(values_only=True)
            columns = [_cell_text(cell).strip() for cell in next(cells, ())]
            for row in cells:
                if any(_cell_text(cell).strip() for cell in row):
                    yield {name: _cell_text(cell) for name, cell in zip(columns, row, strict=False) if name}

    return Form("XLSX table", rows, is_table=True)


def _cell_text(cell: object) -> str:
    return "" if cell is None else str(cell)
