"""Rows of a table → records: finds the header, and checks each row against it.

A row that does not match the header becomes a misfit, `{"columns": …, "row": …, "row_line": …}`, which the check
reports: none of its cells is lost or moved to another column. Titles above the header are skipped, with a note.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from luthier.data.convert.records import CONTEXTS, SYSTEMS
from luthier.data.convert.shapes import ANSWERS, QUESTIONS
from luthier.data.findings import FindingError, make_finding
from luthier.data.jsonl.reader import MAX_LINE_BYTES

_HEADER_ROWS = 20  # rows that are searched for the header
_MAX_RECORD_LINES = 10_000  # lines of one row; a longer one has an unclosed quotation mark
_LONGEST_NAME = 40  # characters
_NO_NAME = re.compile(r"^\s*[\[{<*#>-]|:\s+\S|[.!?。！？]\s*$")  # JSON, markup, YAML, a sentence
_RULE = re.compile(r"\s*(?:(?::-+:?|-+:|-{2,})\s*)?$")  # a cell below the header of a table in Markdown
_PIPE = "\ud800"  # in place of an escaped "|" while a line is divided; no decoded line contains it
_KNOWN = {*QUESTIONS, *ANSWERS, *CONTEXTS, *SYSTEMS, "messages", "conversations", "chosen", "rejected", "instruction"}

Cells = Sequence[str]


class Row(NamedTuple):
    """The cells of a row and the number of its first line. `is_broken`: a quotation mark in it is not closed."""

    line: int
    cells: Cells
    is_broken: bool = False


class Table(NamedTuple):
    """The names of the columns, the rows below the header, and the texts of the rows above it."""

    columns: list[str]
    rows: Iterator[Row]
    titles: list[str]


def open_table(rows: Iterable[Row], named: Sequence[str] = (), *, is_text: bool = True) -> Table:
    """Finds the header: the first row with known names, or with names in `named`; else the first with several cells.

    The columns of text (`is_text`) end with the last name: what a row has beyond it may be the rest of a cell that
    contains the separator. Raises `FindingError` if two columns have the same name.
    """
    iterator = iter(rows)
    head = list(islice(iterator, _HEADER_ROWS))
    filled = [index for index, row in enumerate(head) if any(cell.strip() for cell in row.cells)]
    if not filled:
        return Table([], iter(()), [])
    known = _KNOWN | {name.strip().lower() for name in named}
    start = next((index for index in filled if _has_names(head[index], known)), None)
    if start is None:
        start = next((index for index in filled if _cell_count(head[index]) > 1), filled[0])
    columns = [cell.strip() for cell in head[start].cells]
    repeated = [name for name, count in Counter(filter(None, columns)).items() if count > 1]
    if repeated:
        raise FindingError(make_finding("column_duplicate", key=repeated[0], value=", ".join(columns)))
    while is_text and columns and not columns[-1]:
        columns.pop()
    titles = [" ".join(filter(None, map(str.strip, row.cells))) for row in head[:start]]
    return Table(columns, chain(head[start + 1 :], iterator), [title for title in titles if title])


def records(table: Table) -> Iterator[dict[str, Any]]:
    """The rows as objects, cells by column, without blank rows. A column without a name is named after its number.

    A rule below the header, as in Markdown, is not a row; in such a table the spaces around cells are removed. A row
    that repeats the header, as in joined files, is a misfit.
    """
    columns = table.columns
    names = [name or f"column {number}" for number, name in enumerate(columns, 1)]
    width = max((index for index, name in enumerate(columns, 1) if name), default=0)
    has_rule, follows_header = False, True
    for row in table.rows:
        cells = [cell.strip() for cell in row.cells] if has_rule else row.cells
        if not any(cell.strip() for cell in cells) and not row.is_broken:
            continue
        if follows_header and all(_RULE.match(cell) for cell in cells):
            has_rule, follows_header = True, False
            continue
        follows_header = [cell.strip() for cell in cells[: len(columns)]] == columns
        extra = [cell for cell in cells[len(columns) :] if cell.strip()]
        if row.is_broken or follows_header or extra or len(cells) < width:
            yield {"columns": columns, "row": list(cells), "row_line": row.line}
            continue
        pairs = zip(names, columns, cells, strict=False)
        yield {name: cell for name, column, cell in pairs if column or cell.strip()}


def csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
    """The rows of a CSV file. Of a row with an unclosed quotation mark, only the first line is taken as the row.

    Bytes that are not UTF-8 become surrogates, as by "surrogateescape". Between pipes, as in Markdown, `\\|` is a pipe.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _Lines((line.replace("\\|", _PIPE) for line in file) if delimiter == "|" else file)
        while True:
            start = lines.number
            try:
                row = next(csv.reader(lines, delimiter=delimiter, strict=True), None)
                if row is None:
                    return
                yield Row(start + 1, [cell.replace(_PIPE, "|") for cell in row])
            except csv.Error:
                first = lines.rewind_to_second()
                cells = first.rstrip("\r\n").split(delimiter)
                yield Row(start + 1, [cell.replace(_PIPE, "\\|") for cell in cells], is_broken=True)


class _Lines:
    """The lines of a file. Those of the current row can be read again."""

    def __init__(self, file: Iterable[str]) -> None:
        self._file = iter(file)
        self._pending_lines: list[str] = []  # lines to be read again, the next one last
        self._row: list[str] = []
        self.number = 0

    def __iter__(self) -> "_Lines":
        """Begins a row."""
        self._row = []
        return self

    def __next__(self) -> str:
        if len(self._row) >= _MAX_RECORD_LINES:
            raise csv.Error("a row of too many lines")
        line = self._pending_lines.pop() if self._pending_lines else next(self._file)
        self._row.append(line)
        self.number += 1
        return line

    def rewind_to_second(self) -> str:
        """Goes back to the second line of the row; returns the first."""
        first, *rest = self._row
        self._pending_lines += reversed(rest)
        self.number -= len(rest)
        return first


def looks_like_table(rows: Iterable[Row]) -> bool:
    """Whether text is a table: its header has known names, or most rows have as many cells as the first."""
    head = list(islice(rows, _HEADER_ROWS))
    if not head:
        return False
    if any(_has_names(row, _KNOWN) for row in head[:5]):
        return True
    if any(len(cell) > _LONGEST_NAME or _NO_NAME.search(cell) for cell in head[0].cells):
        return False
    widths = [len(row.cells) for row in head[1:] if any(cell.strip() for cell in row.cells)]
    return len(head[0].cells) > 1 and widths.count(len(head[0].cells)) * 2 > len(widths)


def _has_names(row: Row, known: set[str]) -> bool:
    """Whether two cells are in `known`; one is enough in a row of one cell."""
    found = sum(cell.strip().lower() in known for cell in row.cells)
    return found >= min(2, _cell_count(row)) and found > 0


def has_known_names(names: Iterable[str], *, at_least: int) -> bool:
    """Whether `at_least` of the names are known names of questions, answers or other members of examples."""
    return sum(name.strip().lower() in _KNOWN for name in names) >= at_least


def _cell_count(row: Row) -> int:
    return sum(bool(cell.strip()) for cell in row.cells)
