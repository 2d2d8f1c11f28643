"""Text output of `luthier migrate`, wrapped at the width of the terminal, Chinese included."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from luthier.cli.i18n import printable
from luthier.cli.output import stdout_console

if TYPE_CHECKING:
    from rich.console import Console

NO_BREAK_SPACE = "\u00a0"
_TITLE_COLUMNS = 20
# Latin words and numbers stay whole. Chinese text breaks after any character, but never before punctuation.
_TOKEN = re.compile(r"(?:[!-~\u00a0–≥·…]+|[^!-~\s])[，。：；、）]*|\s+")


def wrap(text: str, width: int) -> Text:
    """`text` in lines of at most `width` cells.

    Rich breaks lines only at spaces, which Chinese sentences do not have. A word that is longer than a line, such as a
    path, stays whole.
    """
    lines = [""]
    for token in _TOKEN.findall(printable(text)):
        if cell_len(lines[-1] + token) <= width:
            lines[-1] += token
        elif not token.isspace():
            lines.append(token)
    return Text("\n".join(line.rstrip(" ") for line in lines if line))


def print_wrapped(text: str, style: str = "") -> None:
    """Prints a paragraph to stdout."""
    console = stdout_console()
    console.print(wrap(text, console.width), style=style, soft_wrap=True)


def plain(text: str, style: str = "") -> Text:
    """Styled text without control characters, which names in an account may contain."""
    return Text(printable(text), style=style)


def print_rows(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Prints rows of a title and a text, which wraps in its column."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in rows:
        table.add_row(plain(title), wrap(value, console.width - _TITLE_COLUMNS))
    console.print(table)
