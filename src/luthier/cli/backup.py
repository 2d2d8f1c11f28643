"""`luthier backup` copies a data folder, even while servers and workers run on it; `luthier restore` copies it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luthier.cli.errors import CliError
from luthier.cli.i18n import printable
from luthier.cli.local import settings_of
from luthier.cli.options import Options, data_options, option, pass_options
from luthier.cli.output import download_bars, format_bytes, note, print_json, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from luthier.store.backup import BackupSummary

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(
    help=say(
        "Copy the data folder to a new folder, while the server runs: database, files, models, jobs. Every file has a "
        "checksum in backup.json. With --since, files that an earlier backup already has take no additional space."
        "\n\nExample: luthier backup /mnt/backups/2026-12-02 --since /mnt/backups/2026-12-01",
        "把数据文件夹（数据库、文件、模型、任务）复制到新文件夹，服务器可以继续运行。"
        "每个文件的校验和写在 backup.json 中。加 --since 后，先前备份中已有的内容不再占用空间。"
        "\n\n例子：luthier backup /mnt/backups/2026-12-02 --since /mnt/backups/2026-12-01",
    )
)
@click.argument("folder", type=_FOLDER)
@option("--since", "An earlier backup on the same disk; unchanged files become hard links to its files.",
        "同一磁盘上先前的备份；未改变的文件成为指向其文件的硬链接。", metavar="BACKUP",
        type=click.Path(exists=True, file_okay=False, path_type=Path))  # fmt: skip
@data_options
@pass_options
def backup(options: Options, folder: Path, since: Path | None) -> None:
    from luthier.store.backup import back_up

    if settings_of(options).store_url():
        raise CliError(
            say("luthier backup copies SQLite databases only, but the setting `store` is a PostgreSQL URL.",
                "luthier backup 只复制 SQLite 数据库，而 store 设置的是 PostgreSQL。"),
            say("Copy the data folder first, then the database with pg_dump (docs/cluster.md).",
                "请先复制数据文件夹，再用 pg_dump 备份数据库（见 docs/cluster.md）。"))  # fmt: skip
    with _progress(say("Copying", "复制")) as report:
        target, earlier = folder.expanduser().absolute(), since and since.absolute()
        summary = back_up(settings_of(options).data, target, report, earlier=earlier)
    _show(options, summary, say("Backed up", "已备份"))
    if not options.json:
        restore_command = f"luthier restore {summary.folder} --data NEW_FOLDER"
        note(printable(say(f"To restore it: {restore_command}", f"恢复：{restore_command}")))


@click.command(
    help=say(
        "Copy a backup into an empty data folder, after verifying all of its checksums.\n\n"
        "Example: luthier restore /mnt/backups/2026-12-01 --data ~/luthier-restored",
        "核对全部校验和，然后把备份复制到空的数据文件夹。\n\n"
        "例子：luthier restore /mnt/backups/2026-12-01 --data ~/luthier-restored",
    )
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_options
@pass_options
def restore(options: Options, folder: Path) -> None:
    from luthier.store.backup import restore as restore_backup

    with _progress(say("Restoring", "恢复")) as report:
        summary = restore_backup(folder.expanduser().absolute(), settings_of(options).data, report)
    _show(options, summary, say("Restored", "已恢复"))


@contextmanager
def _progress(text: str) -> Iterator[Callable[[int, int], None]]:
    with download_bars(text) as advance:
        yield lambda done, total: advance("", done, total)


def _show(options: Options, summary: BackupSummary, verb: str) -> None:
    if options.json:
        print_json(asdict(summary))
        return
    size = format_bytes(summary.bytes)
    text = say(f"{verb}: {summary.files} files, {size}, in {summary.folder}",
               f"{verb}：{summary.files} 个文件，{size}，位于 {summary.folder}")  # fmt: skip
    stdout_console().print(printable(text), soft_wrap=True)
    if summary.missing:
        names = ", ".join(summary.missing)
        note(printable(say(f"Content missing: {names}", f"缺少内容：{names}")), "yellow")
