"""`luthier prune`: lists what can be deleted from this machine, and deletes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from luthier.cli.local import local_catalogue, local_store, settings_of
from luthier.cli.options import Options, data_options, pass_options
from luthier.cli.output import format_bytes, note, print_json, print_table
from luthier.language import say

if TYPE_CHECKING:
    from luthier.store.leftovers import Leftover

# Kind → description, in the order of `luthier.store.leftovers.KINDS`.
_TEXTS = {
    "work-files": ("leftover of a finished job", "已结束任务的残留文件"),
    "logs": ("trainer's log of a finished job", "已结束任务的训练日志"),
    "kernels": ("compiled kernel, not loaded for 30 days", "编译好的内核，30 天未加载"),
    "checkpoints": ("unreferenced checkpoint", "没有被引用的检查点"),
    "exports": ("export of an existing model", "现有模型的导出文件夹"),
}


@click.command(
    help=say(
        "List what can be deleted from the data and cache folders, largest first; --yes deletes it. Nothing that a "
        "job, a model, a permission or an alias refers to is listed. Checkpoints and exports are deleted only if KIND "
        "names them.\n\nExample: luthier prune checkpoints --yes",
        "列出数据文件夹和缓存文件夹中可以删除的内容，大的在前；加 --yes 删除。"
        "任务、模型、权限或别名引用的内容不会列出。检查点和导出只有写明时才会删除。"
        "\n\n例子：luthier prune checkpoints --yes",
    )
)
@click.argument("kinds", nargs=-1, type=click.Choice(list(_TEXTS)), metavar="[KIND]...")
@click.option("--yes", is_flag=True, help=say("Delete it.", "删除。"))
@data_options
@pass_options
def prune(options: Options, kinds: tuple[str, ...], yes: bool) -> None:
    from luthier.store.leftovers import BY_NAME_ONLY

    settings = settings_of(options)
    with local_store(settings) as store:
        leftovers = store.leftovers.find(local_catalogue().cache, settings.alias_targets())
        listed = [leftover for leftover in leftovers if not kinds or leftover.kind in kinds]
        deleted: list[Leftover] = []
        if yes:
            chosen = [leftover for leftover in listed if kinds or leftover.kind not in BY_NAME_ONLY]
            deleted = [leftover for leftover in chosen if leftover.delete()]
    if options.json:
        print_json([_document(leftover, leftover in deleted) for leftover in listed])
        return
    printed = deleted if yes else listed
    columns = (say("size", "大小"), say("kind", "种类"), say("of", "所属"), say("description", "说明"))
    rows = [
        (format_bytes(leftover.bytes), leftover.kind, leftover.name, say(*_TEXTS[leftover.kind]))
        for leftover in printed
    ]
    print_table(columns, rows, empty=say("There is nothing to delete.", "没有可以删除的内容。"))
    if yes:
        size = _size(deleted)
        note(say(f"Deleted: {size}", f"已删除：{size}"))
        return
    by_name_only = [leftover for leftover in listed if leftover.kind in BY_NAME_ONLY]
    unconditional = [leftover for leftover in listed if leftover not in by_name_only]
    if unconditional:
        command = " ".join(["luthier prune", *(kind for kind in kinds if kind not in BY_NAME_ONLY), "--yes"])
        note(say(f"{_size(unconditional)} can be deleted: {command}", f"{_size(unconditional)} 可以删除：{command}"))
    if by_name_only:
        command = " ".join(["luthier prune", *dict.fromkeys(leftover.kind for leftover in by_name_only), "--yes"])
        note(say(f"{_size(by_name_only)} more, if they are no longer needed: {command}",
                 f"另有 {_size(by_name_only)}，确认不再需要时可删除：{command}"))  # fmt: skip


def _size(leftovers: Sequence[Leftover]) -> str:
    return format_bytes(sum(leftover.bytes for leftover in leftovers))


def _document(leftover: Leftover, deleted: bool) -> dict[str, object]:
    return {
        "kind": leftover.kind,
        "name": leftover.name,
        "path": str(leftover.path),
        "bytes": leftover.bytes,
        "deleted": deleted,
    }
