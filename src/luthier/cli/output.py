"""Where words go: results to stdout, everything else to stderr; tables, JSON, times and sizes.

Knows rich; knows nothing about the API's objects beyond their being models that can be turned into JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from luthier.cli.i18n import printable

if TYPE_CHECKING:
    from openai import BaseModel
    from rich.progress import TaskID

# Wide enough that a table in a pipe or a file loses nothing; a terminal has its own width.
PIPE_WIDTH = 240


def results() -> Console:
    """stdout: what was asked for."""
    return _console(stderr=False)


def notices() -> Console:
    """stderr: progress, explanations, errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    return console if console.is_terminal else Console(
        stderr=stderr, markup=False, highlight=False, emoji=False, width=PIPE_WIDTH
    )  # fmt: skip


def note(text: str, style: str = "") -> None:
    """One paragraph on stderr."""
    notices().print(Text(printable(text), style=style), soft_wrap=True)


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner with `text` while the body runs; nothing where stderr is no terminal."""
    console = notices()
    if not console.is_terminal:
        yield
        return
    with console.status(Text(text)):
        yield


@contextmanager
def transfer(text: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar per file, on a terminal; call what it yields with the file, its bytes that are here, all of its bytes."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = notices()
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}", markup=False), *columns, console=console) as shown:
        tasks: dict[str, TaskID] = {}

        def advance(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = shown.add_task(printable(f"{text} {file}"), total=total or None)
            shown.update(tasks[file], completed=done)

        yield advance


def as_json(value: BaseModel) -> dict[str, Any]:
    """The object as the server sent it, unknown keys included."""
    return value.to_dict(mode="json", warnings=False)


def print_json(value: Any) -> None:
    """The one JSON document on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout. The first column is never cut, because it holds what the next command needs."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, no_wrap=position == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    results().print(table)


def print_details(value: dict[str, Any]) -> None:
    """`key  value` lines on stdout; what is nested stays JSON, what is null is left out; times are readable."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, item in value.items():
        is_empty = not any(v is not None for v in item.values()) if isinstance(item, dict) else item in (None, [])
        if not is_empty:
            is_time = key.endswith(("_at", "_finish")) or key == "created"
            table.add_row(key, Text(when(item) if is_time else _cell(item)))
    results().print(table)


def when(seconds: object) -> str:
    """Unix seconds as local time; anything else is no time."""
    if not isinstance(seconds, (int, float)) or seconds <= 0:
        return "–"
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def counted_as(count: int, noun: str) -> str:
    """`1 error`, `2 errors`; for English only."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: int) -> str:
    """A number of bytes, rounded, in binary units."""
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
