"""Prints results to stdout and everything else to stderr: tables, JSON, progress bars, times and sizes."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from luthier.cli.click_texts import CellTextWrapper
from luthier.cli.i18n import printable

if TYPE_CHECKING:
    from openai import BaseModel
    from rich.progress import TaskID

# The width of tables in pipes and files, where nothing may be cut off; on a terminal, its own width applies.
PIPE_WIDTH = 240
_GAP = "  "  # between the columns of a table
_COMMAND = re.compile(r"`luthier [^`]*`|(?<=[:：] )luthier .*|(?<=：)luthier .*")
_COMMAND_SPACE = "\ue000"
QUIET_S = 2.0  # seconds of silence after which a line says what the command is doing
_LINE_INTERVAL_S = 10.0
_MIN_TEXT_WIDTH = 30  # cells; a narrower column of sentences is hard to read


def stdout_console() -> Console:
    """The console for results, on stdout."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """The console for progress, notices and errors, on stderr."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = WrappingConsole(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def note(text: str, style: str = "") -> None:
    """Prints a paragraph to stderr."""
    stderr_console().print(Text(printable(text), style=style), soft_wrap=True)


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Shows `text` with a spinner while the body runs; off terminals, prints it if the body takes over `QUIET_S`."""
    console = stderr_console()
    if not console.is_terminal:
        timer = threading.Timer(QUIET_S, note, [text])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
        return
    with console.status(Text(text)):
        yield


class ProgressLines:
    """Prints progress off terminals: a line at the start, then at most one every ten seconds, and one at the end."""

    def __init__(self, text: str, total: int) -> None:
        self._text, self._total, self._done = text, total, 0
        self._print()

    def advance(self) -> None:
        self.show(self._done + 1)

    def show(self, done: int, more: str = "") -> None:
        """Prints the counts, followed by `more`, if a line is due."""
        is_end = self._done < self._total <= done
        self._done = done
        if is_end or time.monotonic() - self._printed_at >= _LINE_INTERVAL_S:
            self._print(more)

    def _print(self, more: str = "") -> None:
        self._printed_at = time.monotonic()
        note(f"{datetime.now():%H:%M:%S}  {self._text} {self._done}/{self._total}{more}")


@contextmanager
def download_bars(text: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yields a callback (file, bytes done, total bytes) that draws a progress bar per file if stderr is a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = stderr_console()
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}", markup=False), *columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(printable(f"{text} {file}"), total=total or None)
            bars.update(tasks[file], completed=done)

        yield advance


def to_json(value: BaseModel) -> dict[str, Any]:
    """The object as the server sent it, including unknown keys."""
    return value.to_dict(mode="json", warnings=False)


def print_json(value: Any) -> None:
    """Prints the JSON document of --json to stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, text_column: bool = False, empty: str = ""
) -> None:
    """Prints a table to stdout. Cells are never wrapped or cut off.

    Rows that are wider than the terminal are printed as one block each: the first cell as its heading, a line for
    each other cell.

    Args:
        text_column: Whether the last column has sentences, which wrap between words.
        empty: The text that is printed instead of a table without rows.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    console = stdout_console()
    if empty and not cells:
        console.print(empty, soft_wrap=True)
    elif text_column and console.is_terminal:
        _print_with_text(columns, cells, console)
    elif _fits(columns, cells, console):
        if not console.is_terminal:
            console.width = max(PIPE_WIDTH, table_width(columns, cells))
        console.print(_grid(columns, cells))
    else:
        _print_blocks(columns, cells, console)


def table_width(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """The number of terminal cells that the widest row takes."""
    widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _fits(columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> bool:
    return not console.is_terminal or table_width(columns, rows) <= console.width


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, len(_GAP), 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True, overflow="ignore")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _print_with_text(columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Prints a table whose last column wraps between words, beside the others if there is room, else below them."""
    widths = [max(map(cell_len, column)) for column in zip(columns[:-1], *(row[:-1] for row in rows), strict=True)]
    indent = sum(widths) + len(_GAP) * len(widths)
    indent = indent if indent + _MIN_TEXT_WIDTH <= console.width else 2
    for style, row in (("bold", columns), *(("", row) for row in rows)):
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row[:-1], widths, strict=True)]
        line = wrap_text(_GAP.join([*cells, row[-1]]), console.width, indent)
        console.print(Text(line, style=style), soft_wrap=True, no_wrap=True)


def wrap_text(text: str, width: int, indent: int = 0) -> str:
    """`text` with line breaks between words and Chinese characters; lines after the first are indented.

    Commands, and words that are longer than a line, such as model names, stay whole, so that they can be copied.
    """
    wrapper = CellTextWrapper(
        width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )
    protected = _COMMAND.sub(lambda command: command[0].replace(" ", _COMMAND_SPACE), text)
    lines = [line if cell_len(line) <= width else wrapper.fill(line) for line in protected.split("\n")]
    return "\n".join(lines).replace(_COMMAND_SPACE, " ")


class WrappingConsole(Console):
    """A console that wraps text like `wrap_text` on a terminal, if it is printed with `soft_wrap` and not `no_wrap`."""

    def print(self, *objects: Any, soft_wrap: bool | None = None, no_wrap: bool | None = None, **options: Any) -> None:
        if soft_wrap and not no_wrap and self.is_terminal:
            objects = tuple(
                _wrapped(value, self.width) if isinstance(value, str | Text) else value for value in objects
            )
        super().print(*objects, soft_wrap=soft_wrap, no_wrap=no_wrap, **options)


def _wrapped(text: str | Text, width: int) -> Text:
    """`text` with line breaks; lines after the first have its indentation, and styles are kept."""
    styled = Text(text) if isinstance(text, str) else text
    return Text("\n").join(_wrapped_line(line, width) for line in styled.split("\n", allow_blank=True))


def _wrapped_line(line: Text, width: int) -> Text:
    if line.cell_len <= width:
        return line
    plain, parts, start = line.plain, list[Text](), 0
    indent = len(plain) - len(plain.lstrip(" •→"))
    for part in wrap_text(plain, width, indent).split("\n"):
        words = part.lstrip(" ") if parts else part
        if not words:
            continue
        start = plain.index(words, start)
        parts.append(line[start : start + len(words)])
        start += len(words)
    return Text("\n" + " " * indent).join(parts)


def _print_blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    label_width = max(map(cell_len, columns))
    for number, (heading, *values) in enumerate(rows):
        if number:
            console.print()
        console.print(Text(heading, style="bold"), soft_wrap=True)
        for label, value in zip(columns[1:], values, strict=True):
            padding = " " * (label_width - cell_len(label))
            console.print(Text(f"  {label}{padding}{_GAP}{value}"), soft_wrap=True, no_wrap=True)


def print_details(value: dict[str, Any]) -> None:
    """Prints a line `key  value` for each field that is not null: nested values as JSON, times as local time.

    Long values are wrapped by the terminal, so that ids can be copied whole.
    """
    rows = []
    for key, field in value.items():
        is_empty = all(v is None for v in field.values()) if isinstance(field, dict) else field in (None, [])
        if not is_empty:
            is_time = key.endswith(("_at", "_finish")) or key == "created"
            rows.append((key, local_time(field) if is_time else _cell(field)))
    width = max((cell_len(key) for key, _ in rows), default=0)
    for key, text in rows:
        line = Text.assemble((key + " " * (width - cell_len(key)), "bold"), _GAP, text)
        stdout_console().print(line, soft_wrap=True, no_wrap=True)


def local_time(seconds: object) -> str:
    """Unix seconds as local time; a dash for a value that is not a number."""
    if not isinstance(seconds, (int, float)) or seconds <= 0:
        return "–"
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def plural(count: int, noun: str, many: str = "") -> str:
    """A number with its English noun: `1 error`, `2 errors`, `2,000 batches`; `many` is an irregular plural."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def format_bytes(count: int) -> str:
    """A number of bytes, rounded, with its binary unit."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text)
