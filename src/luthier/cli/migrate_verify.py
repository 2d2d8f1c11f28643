"""`luthier migrate verify`: verifies that a recording is complete and undamaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from luthier.cli.migrate_text import print_wrapped
from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import plural, print_json, spinner
from luthier.language import say

if TYPE_CHECKING:
    from luthier.migrate.verification import Verification


@click.command(
    short_help=say("Verify that a recording is complete.", "检查录制是否完整。"),
    help=say(
        "Verify that a recording is complete: compare each file and document with its checksum in the manifest, and "
        "list what is missing. Needs neither the account nor a key. Exit code 0 if it is complete, 1 if something is "
        "damaged or missing, 2 if the folder is not a recording.\n\nExample: luthier migrate verify recording",
        "检查录制是否完整：逐个文件核对清单中的校验和，并列出缺失的内容。不需要账号，也不需要密钥。"
        "完整时退出码为 0，有损坏或缺失时为 1，文件夹不是录制时为 2。\n\n例子：luthier migrate verify recording",
    ),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@local_options
@pass_options
def verify(options: Options, folder: Path) -> None:
    from luthier.migrate.verification import verify as verify_folder

    with spinner(say("Reading …", "正在读取……")):
        result = verify_folder(folder)
    if options.json:
        print_json(result.to_dict())
    else:
        _print(folder, result)
    raise click.exceptions.Exit(0 if result.is_whole else 1)


def _print(folder: Path, result: Verification) -> None:
    counts = result.counts
    contents = say(
        f"{plural(counts['files'], 'file')}, {plural(counts['jobs'], 'job')}, "
        f"{plural(counts['stored_completions'], 'stored completion')}, "
        f"{plural(counts['batches'], 'batch', 'batches')}, {plural(counts['answers'], 'answer')} of "
        f"{plural(counts['models'], 'model')}",
        f"{counts['files']} 个文件、{counts['jobs']} 个任务、{counts['stored_completions']} 个保存的对话补全、"
        f"{counts['batches']} 个批处理、{counts['models']} 个模型的 {counts['answers']} 个回答",
    )
    if result.is_whole:
        print_wrapped(say(f"Complete: {folder}: {contents}.", f"完整：{folder}：{contents}。"))
    else:
        print_wrapped(say(f"Incomplete: {folder}: {contents}.", f"不完整：{folder}：{contents}。"), "bold red")
    for name, reason in result.damaged.items():
        print_wrapped(say(f"Damaged: {name}: {reason}", f"损坏：{name}：{reason}"), "red")
    for name, reason in result.missing.items():
        print_wrapped(say(f"Missing: {name}: {reason}", f"缺失：{name}：{reason}"), "yellow")
    if result.lost:
        ids = ", ".join(result.lost)
        print_wrapped(say(f"Already deleted from the account: {ids}", f"早已从账号中删除：{ids}"))
    if result.damaged:
        print_wrapped(
            say(
                "Delete the damaged files and run `luthier migrate record` again; the rest is not recorded twice.",
                "请删除损坏的文件，再运行 `luthier migrate record`；其余内容不会重复录制。",
            )
        )
