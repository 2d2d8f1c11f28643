"""`luthier store move`: moves the database of a data folder from SQLite to PostgreSQL, or back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from luthier.cli.errors import CliError
from luthier.cli.i18n import printable
from luthier.cli.local import data_folder, settings_of
from luthier.cli.options import Options, data_options, option, pass_options
from luthier.cli.output import note, print_json, print_table
from luthier.language import say

if TYPE_CHECKING:
    from luthier.store.database_move import MoveSummary

_MOST_NAMES = 5


@click.group(
    help=say(
        "The database of a data folder: SQLite in the folder, or PostgreSQL (docs/cluster.md).\n\n"
        "Example: luthier store move --to postgresql://luthier@db.internal/luthier",
        "数据文件夹的数据库：文件夹中的 SQLite，或者 PostgreSQL（见 docs/cluster.md）。\n\n"
        "例子：luthier store move --to postgresql://luthier@db.internal/luthier",
    )
)
def store() -> None:
    pass


@store.command(
    "move",
    help=say(
        "Move all rows of a data folder's database to an empty PostgreSQL database, or back, while no server or "
        "worker is running. Files and models stay in the data folder. Either all rows are moved or none. luthier.db "
        "is renamed; a PostgreSQL database keeps its rows.\n\n"
        "Example: luthier store move --to postgresql://luthier@db.internal/luthier --data /mnt/luthier",
        "在没有服务器和 worker 运行时，把数据文件夹的数据库中的所有数据移到空的 PostgreSQL 数据库，或移回来。"
        "文件和模型留在数据文件夹中。要么全部移动，要么什么都不移动。luthier.db 会改名；PostgreSQL 中的数据保留。\n\n"
        "例子：luthier store move --to postgresql://luthier@db.internal/luthier --data /mnt/luthier",
    ),
)
@option("--to", "The empty PostgreSQL database that the rows are moved to.", "目标：空的 PostgreSQL 数据库。",
        name="target", metavar="URL")  # fmt: skip
@option("--from", "The PostgreSQL database that the rows are moved from, into SQLite in the data folder.",
        "来源：PostgreSQL 数据库；数据移到数据文件夹中的 SQLite。", name="source", metavar="URL")  # fmt: skip
@data_options
@pass_options
def move(options: Options, target: str | None, source: str | None) -> None:
    from luthier.runtime import server_lock
    from luthier.store.database_move import move_to_folder, move_to_postgres

    settings = settings_of(options)
    with server_lock(settings.model_copy(update={"store": None})):
        if target and not source:
            summary = move_to_postgres(data_folder(settings), target)
        elif source and not target:
            summary = move_to_folder(source, data_folder(settings))
        else:
            raise CliError(
                say("Give either --to or --from: the URL of a PostgreSQL database.",
                    "请给出 --to 或 --from 其中之一：PostgreSQL 的 URL。"))  # fmt: skip
    if options.json:
        print_json({"object": "store.move", **asdict(summary)})
    else:
        _show(summary)


def _show(summary: MoveSummary) -> None:
    rows = [(table, f"{count:,}") for table, count in summary.rows.items() if count]
    print_table((say("table", "表"), say("rows", "行数")), rows)
    total, tables = sum(summary.rows.values()), len(summary.rows)
    note(printable(say(f"Moved {total:,} rows of {tables} tables from {summary.source} to {summary.target}.",
                       f"已把 {tables} 个表的 {total:,} 行从 {summary.source} 移到 {summary.target}。")))  # fmt: skip
    if summary.cleaned:
        note(say(f"{summary.cleaned} values contained characters or numbers that PostgreSQL cannot store (NUL, NaN); "
                 "they were replaced as in new rows.",
                 f"有 {summary.cleaned} 个值含有 PostgreSQL 无法保存的字符或数字（NUL、NaN），已按新数据的方式替换。"),
             "yellow")  # fmt: skip
    if summary.missing:
        names = ", ".join(summary.missing[:_MOST_NAMES]) + (" …" if len(summary.missing) > _MOST_NAMES else "")
        count = len(summary.missing)
        note(printable(say(f"The content of {count} files or models is missing from the data folder: {names}",
                           f"有 {count} 个文件或模型在数据文件夹中没有内容：{names}")), "yellow")  # fmt: skip
    if summary.old_database:
        note(printable(say(f"The old database is now {summary.old_database}; it can be deleted. Set LUTHIER_STORE to "
                           "the URL for every server and worker.",
                           f"旧数据库现在是 {summary.old_database}，可以删除。"
                           "请为每个服务器和 worker 把 LUTHIER_STORE 设为该 URL。")))  # fmt: skip
    else:
        note(printable(say(f"Start servers and workers without LUTHIER_STORE from now on; {summary.source} keeps the "
                           "old rows.",
                           "从现在起启动服务器和 worker 时不要设置 LUTHIER_STORE；"
                           f"{summary.source} 中仍保留旧数据。")))  # fmt: skip
