"""`luthier migrate import`: a recording into the data folder of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from luthier.cli.i18n import printable
from luthier.cli.local import settings_of
from luthier.cli.options import Options, data_options, pass_options
from luthier.cli.output import note, print_json, spinner, stdout_console
from luthier.language import say


@click.command(
    "import",
    help=say(
        "Import a recording into the data folder: files and jobs keep their ids, and jobs show where they come from. A "
        "folder of your own JSONL files is imported as training files. What is there already stays as it is, so the "
        "command may be repeated; a running server shows the imported objects at once. Nothing is trained.\n\n"
        "Example: luthier migrate import recording",
        "把录制内容导入数据文件夹：文件和任务保留原来的 ID，任务会注明来源。"
        "存放自有 JSONL 的文件夹会作为训练文件导入。已有的内容不变，可以重复运行；正在运行的服务器立即可见。"
        "不会进行训练。\n\n例子：luthier migrate import recording",
    ),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--project", metavar="ID", help=say("The project that the objects belong to here.", "导入到此处的项目。"))
@data_options
@pass_options
def import_recording(options: Options, folder: Path, project: str | None) -> None:
    from luthier.migrate.importing import import_folder
    from luthier.store import Store

    store = Store(settings_of(options).data)
    try:
        with spinner(say("Importing …", "正在导入……")):
            result = import_folder(folder, store.within(project))
    finally:
        store.close()
    if options.json:
        print_json(result.to_dict())
        return
    console = stdout_console()
    text = say(
        f"Imported {len(result.files)} files and {len(result.jobs)} jobs; {len(result.present)} were there already.",
        f"导入 {len(result.files)} 个文件、{len(result.jobs)} 个任务；{len(result.present)} 个早已存在。",
    )
    console.print(text, soft_wrap=True)
    for file_id in result.files if len(result.files) <= 20 else []:
        console.print(printable(file_id), soft_wrap=True)
    if result.missing:
        ids = ", ".join(result.missing)
        note(printable(say(f"Not in the recording: {ids}", f"录制中没有：{ids}")), "yellow")
    if result.damaged:
        ids = ", ".join(result.damaged)
        text = say(f"Not imported, because their checksums differ: {ids}", f"校验和不符，未导入：{ids}")
        note(printable(text), "red")
        raise click.exceptions.Exit(1)
