"""Output of `luthier migrate`: the inventory as a table, or as one block per model where the terminal is narrow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from luthier.cli.i18n import printable
from luthier.cli.output import format_bytes, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from rich.console import Console

    from luthier.migrate.inventory import FileEntry, Inventory, ModelEntry

_URGENT_DAYS = 60
_LOSS_COLUMNS = 24  # of days left and last day
_TITLE_COLUMNS = 20
# Words of Latin letters and numbers are kept whole; Chinese breaks after any character, never before punctuation.
_TOKEN = re.compile(r"(?:[!-~\u00a0–≥·…]+|[^!-~\s])[，。：；、）]*|\s+")
_NO_BREAK_SPACE = "\u00a0"


def print_inventory(inventory: Inventory) -> None:
    """Prints what is lost first, then the notes, then the models."""
    from luthier.migrate.inventory_text import notes

    console = stdout_console()
    title = say("Account", "账号")
    project = f" · {inventory.project}" if inventory.project else ""
    console.print(_text(f"{title}  {inventory.base_url}{project}  {inventory.today}", "bold"), soft_wrap=True)
    _print_losses(console, inventory)
    console.print()
    for line in notes(inventory):
        console.print(_wrap(line, console.width))
    console.print()
    if not inventory.models:
        console.print(say("There are no fine-tuned models.", "没有微调模型。"))
        return
    table = _model_table(inventory)
    if table.__rich_measure__(console, console.options).maximum <= console.width:
        console.print(table)
        return
    for model in inventory.models:
        _print_block(console, inventory, model)


def _print_losses(console: Console, inventory: Inventory) -> None:
    from luthier.migrate.inventory import losses

    entries = losses(inventory)
    console.print()
    if not entries:
        console.print(say("There is nothing to save.", "没有需要保存的内容。"))
        return
    console.print(_text(say("If nothing is done, this is lost. Save it in this order:",
                            "如果什么都不做，就会失去以下内容。请按此顺序保存："), "bold"))  # fmt: skip
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(say("days left", "剩余天数"), justify="right", no_wrap=True)
    table.add_column(say("last day", "最后一天"), no_wrap=True)
    table.add_column("", overflow="fold")
    for loss in entries:
        urgent = loss.days_left is not None and loss.days_left < _URGENT_DAYS
        days = "–" if loss.days_left is None else str(loss.days_left)
        text = _wrap(loss.text, console.width - _LOSS_COLUMNS)
        table.add_row(_text(days, "bold red" if urgent else ""), str(loss.last_day or "–"), text)
    console.print(table)


def _model_table(inventory: Inventory) -> Table:
    from luthier.migrate.inventory_text import columns, days_left, last_day, model_state

    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns()):
        table.add_column(column, no_wrap=True, justify="right" if position == 1 else "left")
    for model in inventory.models:
        job = model.job
        table.add_row(
            _text(model.id),
            days_left(inventory, model),
            _text(last_day(model)),
            _text(model_state(model)),
            _text(model.base or "–"),
            _text(f"{job.id}, {job.method}" if job else "–"),
            _text("\n".join(f"{role} {file.id} {state}" for role, file, state in _file_rows(inventory, model)) or "–"),
            str(len(job.checkpoints)) if job else "–",
        )
        for warning in job.warnings() if job else []:
            table.add_row(_text(f"  ! {warning}", "yellow"))
    return table


def _print_block(console: Console, inventory: Inventory, model: ModelEntry) -> None:
    """The figures of one model as rows."""
    from luthier.migrate.inventory_text import columns, days_left, last_day, model_state

    titles = columns()
    job = model.job
    rows = [
        (titles[1], days_left(inventory, model)),
        (titles[2], last_day(model)),
        (titles[3], model_state(model)),
        (titles[4], model.base or "–"),
        (titles[5], f"{job.id}, {job.method}" if job else "–"),
    ]
    rows += [(role, f"{file.id} {state}") for role, file, state in _file_rows(inventory, model)]
    rows.append((titles[7], str(len(job.checkpoints)) if job else "–"))
    rows += [("!", warning) for warning in (job.warnings() if job else [])]
    console.print(_text(model.id, "bold"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, value in rows:
        table.add_row(_text(title), _wrap(value, console.width - _TITLE_COLUMNS))
    console.print(table)
    console.print()


def _file_rows(inventory: Inventory, model: ModelEntry) -> list[tuple[str, FileEntry, str]]:
    """(role, file, state with the size) of each file of the model's job."""
    from luthier.migrate.inventory_text import ROLES, file_state

    rows = []
    for role, file in inventory.job_files(model.job):
        size = format_bytes(file.bytes).replace(" ", _NO_BREAK_SPACE) if file.bytes is not None else ""
        rows.append((say(*ROLES[role]), file, f"{file_state(file)} {size}".rstrip()))
    return rows


def _wrap(text: str, width: int) -> Text:
    """Lines of at most `width` columns: rich breaks at spaces only, which Chinese sentences do not have."""
    lines = [""]
    for token in _TOKEN.findall(printable(text)):
        if cell_len(lines[-1] + token) <= width:
            lines[-1] += token
        elif not token.isspace():
            lines.append(token)
    return Text("\n".join(line.rstrip(" ") for line in lines))


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)
