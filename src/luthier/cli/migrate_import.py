"""`luthier migrate import`: imports a recording into the data folder of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from luthier.cli.local import open_store, settings_of
from luthier.cli.migrate_text import print_rows, print_wrapped
from luthier.cli.options import Options, data_options, pass_options
from luthier.cli.output import plural, print_json, spinner, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from luthier.migrate.import_result import ImportResult

_MAX_LISTED = 20


@click.command(
    "import",
    short_help=say("Import a recording, or your own files.", "导入录制内容或自有文件。"),
    help=say(
        "Import a recording into the data folder: files, jobs, batches and stored completions keep their ids and show "
        "where they come from, and the recorded answers of each model become a file. A folder of your own JSONL files, "
        "with its subfolders, is imported as training files. Existing objects are left unchanged, so the command can "
        "be repeated; a running server shows the imported objects immediately. Nothing is trained. Exit code 1 if "
        "something could not be imported.\n\n"
        "Example: luthier migrate import recording",
        "把录制内容导入数据文件夹：文件、任务、批处理和保存的对话补全保留原来的编号，并注明来源；"
        "每个模型录制的回答成为一个文件。存放自有 JSONL 的文件夹（含子文件夹）会作为训练文件导入。"
        "已有的内容不变，可以重复运行；正在运行的服务器立即可见。不会进行训练。有内容无法导入时退出码为 1。"
        "\n\n例子：luthier migrate import recording",
    ),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--project", metavar="ID", help=say("The project here that the objects will belong to.", "导入到此处的项目。")
)
@data_options
@pass_options
def import_recording(options: Options, folder: Path, project: str | None) -> None:
    from luthier.migrate.importing import ImportLimits, import_folder

    settings = settings_of(options)
    store = open_store(settings)
    limits = ImportLimits(settings.stored_days, settings.stored_completions)
    try:
        with spinner(say("Importing …", "正在导入……")):
            result = import_folder(folder, store.within(project), limits)
    finally:
        store.close()
    if options.json:
        print_json(result.to_dict())
    else:
        _print(result)
    raise click.exceptions.Exit(0 if result.is_whole else 1)


def _print(result: ImportResult) -> None:
    print_wrapped(
        say(
            f"Imported {plural(len(result.files), 'file')}, {plural(len(result.jobs), 'job')}, "
            f"{plural(len(result.batches), 'batch', 'batches')} and "
            f"{plural(len(result.stored_completions), 'stored completion')}; already here: {len(result.present)}.",
            f"导入 {len(result.files)} 个文件、{len(result.jobs)} 个任务、{len(result.batches)} 个批处理、"
            f"{len(result.stored_completions)} 个保存的对话补全；{len(result.present)} 个早已存在。",
        )
    )
    if result.answers:
        print_wrapped(say("Recorded answers, as files:", "录制的回答，保存为文件："))
        print_rows(stdout_console(), [(file_id, model) for model, file_id in result.answers.items()])
    if not result.jobs and result.files and len(result.files) <= _MAX_LISTED:
        print_rows(stdout_console(), [(file_id, "") for file_id in result.files])
    if result.missing:
        ids = ", ".join(result.missing)
        print_wrapped(say(f"Not in the recording: {ids}", f"录制中没有：{ids}"), "yellow")
    if result.other_files:
        count = result.other_files
        print_wrapped(say(f"Skipped, because they are not JSONL files: {count}", f"不是 JSONL，未导入：{count} 个"))
    for job_id, reason in result.untrainable.items():
        print_wrapped(say(f"{job_id} cannot be trained here: {reason}", f"{job_id} 不能在这里训练：{reason}"), "yellow")
    if result.damaged:
        ids = ", ".join(result.damaged)
        print_wrapped(say(f"Not imported, because their checksums differ: {ids}", f"校验和不符，未导入：{ids}"), "red")
    for name, reason in [*result.refused.items(), *result.faults.items()][:_MAX_LISTED]:
        print_wrapped(say(f"Not imported: {name}: {reason}", f"未导入：{name}：{reason}"), "red")
    if (others := len(result.refused) + len(result.faults) - _MAX_LISTED) > 0:
        print_wrapped(say(f"and {others} more; --json lists them all", f"另有 {others} 个；--json 列出全部"), "red")
    if result.faults:
        print_wrapped(say("luthier check FILE shows what is wrong with a file, and --fix repairs most of it.",
                          "luthier check FILE 说明文件的问题，--fix 可以改正其中许多。"))  # fmt: skip
