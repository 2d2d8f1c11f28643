"""The output of `luthier migrate`: the inventory, the plans of a recording, and its result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from luthier.cli.migrate_text import NO_BREAK_SPACE, plain, print_rows, wrap
from luthier.cli.output import format_bytes, plural, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from rich.console import Console

    from luthier.migrate.inventory import FileEntry, Inventory, ModelEntry
    from luthier.migrate.recorder import ModelPlan
    from luthier.migrate.recording import Recording

_URGENT_DAYS = 60
_SOURCES = {
    "validation": ("validation file", "验证文件"),
    "training": ("training file (seen in training)", "训练文件（训练时见过）"),
    "prompts": ("--prompts", "--prompts"),
    "stored_completions": ("stored completions", "保存的对话补全"),
}
_LOSS_COLUMNS = 24  # terminal cells of the columns "days left" and "last day"


def print_inventory(inventory: Inventory) -> None:
    """Prints what will be lost first, the notes, and the models: as a table, or as blocks on a narrow terminal."""
    from luthier.migrate.inventory_text import notes

    console = stdout_console()
    title = say("Account", "账号")
    project = f" · {inventory.project}" if inventory.project else ""
    console.print(plain(f"{title}  {inventory.base_url}{project}  {inventory.today}", "bold"), soft_wrap=True)
    _print_losses(console, inventory)
    console.print()
    for line in notes(inventory):
        console.print(wrap(line, console.width))
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
    console.print(plain(say("If nothing is done, the following will be lost. Save it in this order:",
                            "如果什么都不做，就会失去以下内容。请按此顺序保存："), "bold"))  # fmt: skip
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(say("days left", "剩余天数"), justify="right", no_wrap=True)
    table.add_column(say("last day", "最后一天"), no_wrap=True)
    table.add_column("", overflow="fold")
    for loss in entries:
        urgent = loss.days_left is not None and loss.days_left < _URGENT_DAYS
        days = "–" if loss.days_left is None else str(loss.days_left)
        text = wrap(loss.text, console.width - _LOSS_COLUMNS)
        table.add_row(plain(days, "bold red" if urgent else ""), str(loss.last_day or "–"), text)
    console.print(table)


def _model_table(inventory: Inventory) -> Table:
    from luthier.migrate.inventory_text import columns, days_left, last_day, model_state

    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns()):
        table.add_column(column, no_wrap=True, justify="right" if position == 1 else "left")
    for model in inventory.models:
        job = model.job
        table.add_row(
            plain(model.id),
            days_left(inventory, model),
            plain(last_day(model)),
            plain(model_state(inventory, model)),
            plain(model.base or "–"),
            plain(f"{job.id}, {job.method}" if job else "–"),
            plain("\n".join(f"{role} {file.id} {state}" for role, file, state in _file_rows(inventory, model)) or "–"),
            str(len(job.checkpoints)) if job else "–",
        )
        for warning in job.warnings() if job else []:
            table.add_row(plain(f"  ! {warning}", "yellow"))
    return table


def _print_block(console: Console, inventory: Inventory, model: ModelEntry) -> None:
    """Prints a model as a block of rows."""
    from luthier.migrate.inventory_text import columns, days_left, last_day, model_state

    titles = columns()
    job = model.job
    rows = [
        (titles[1], days_left(inventory, model)),
        (titles[2], last_day(model)),
        (titles[3], model_state(inventory, model)),
        (titles[4], model.base or "–"),
        (titles[5], f"{job.id}, {job.method}" if job else "–"),
    ]
    rows += [(role, f"{file.id} {state}") for role, file, state in _file_rows(inventory, model)]
    rows.append((titles[7], str(len(job.checkpoints)) if job else "–"))
    rows += [("!", warning) for warning in (job.warnings() if job else [])]
    console.print(plain(model.id, "bold"), soft_wrap=True)
    print_rows(console, rows)
    console.print()


def _file_rows(inventory: Inventory, model: ModelEntry) -> list[tuple[str, FileEntry, str]]:
    """The role, the entry, and the state with the size, for each file of the model's job."""
    from luthier.migrate.inventory_text import ROLES, file_state

    rows = []
    for role, file in inventory.job_files(model.job):
        size = format_bytes(file.bytes).replace(" ", NO_BREAK_SPACE) if file.bytes is not None else ""
        rows.append((say(*ROLES[role]), file, f"{file_state(file)} {size}".rstrip()))
    return rows


def print_plans(inventory: Inventory, plans: Sequence[ModelPlan], max_tokens: int) -> None:
    """Prints what a recording will contain and cost."""
    console = stdout_console()
    stored, files = inventory.stored, [file for file in inventory.files.values() if file.state == "available"]
    size = format_bytes(sum(file.bytes or 0 for file in files)).replace(" ", NO_BREAK_SPACE)
    free = say(
        f"Free: {plural(len(inventory.jobs), 'job')}, {plural(len(files), 'file')} ({size}), "
        f"{plural(stored.count, 'stored completion')}, {plural(len(inventory.batches), 'batch', 'batches')}.",
        f"免费：{len(inventory.jobs)} 个任务、{len(files)} 个文件（{size}）、{stored.count} 个保存的对话补全、"
        f"{len(inventory.batches)} 个批处理。",
    )
    console.print(wrap(free, console.width))
    console.print()
    for plan in plans:
        console.print(plain(plan.model.id, "bold"), soft_wrap=True)
        print_rows(console, _plan_rows(plan))
    pending = [plan for plan in plans if plan.pending]
    if not pending:
        console.print(say("There is no question to send.", "没有要提的问题。"))
        return
    total = say(f"Sending all of them: {cost_text(pending)}.", f"全部提问：{cost_text(pending)}。")
    console.print(wrap(total, console.width), style="bold")
    limit = say(
        f"The maximum counts every byte of a prompt as a token, and {max_tokens} tokens for every answer.",
        f"“最多”按提示的每个字节都是一个 token、每个回答都达到 {max_tokens} 个 token 计算。",
    )
    console.print(wrap(limit, console.width))


def cost_text(plans: Sequence[ModelPlan]) -> str:
    """The number of questions and their cost: `40 questions to 2 models: about $0.02, at most $0.81`."""
    count, models = sum(len(plan.pending) for plan in plans), len(plans)
    head = say(f"{plural(count, 'question')} to {plural(models, 'model')}", f"向 {models} 个模型提 {count} 个问题")
    if any(plan.price is None for plan in plans):
        return head + say(", price unknown", "，价格未知")
    typical, highest = sum(plan.typical_cost or 0 for plan in plans), sum(plan.max_cost or 0 for plan in plans)
    about, most = _dollars(typical), _dollars(highest)
    return head + say(f": about {about}, at most {most}", f"：约 {about}，最多 {most}")


def _plan_rows(plan: ModelPlan) -> list[tuple[str, str]]:
    if not plan.questions:
        return [("!", say("no questions: its files are gone or never existed; add some with --prompts",
                          "没有问题：它的文件已不存在或从未有过；可用 --prompts 给出"))]  # fmt: skip
    sources = sorted({question.source for question in plan.questions})
    rows = [
        (say("questions", "问题"), str(len(plan.questions))),
        (say("answered", "已回答"), str(len(plan.questions) - len(plan.pending))),
        (say("from", "来源"), ", ".join(say(*_SOURCES[source]) for source in sources) or "–"),
    ]
    if plan.price is None:
        return [*rows, (say("cost", "费用"), say("price unknown: pass --price-in and --price-out",
                                                 "价格未知：请给出 --price-in 和 --price-out"))]  # fmt: skip
    about, most = _dollars(plan.typical_cost or 0), _dollars(plan.max_cost or 0)
    cost = say(f"about {about}, at most {most}", f"约 {about}，最多 {most}")
    return [*rows, (say("cost", "费用"), cost)]


def _dollars(amount: float) -> str:
    """An amount with two decimals, or more below ten dollars, rounded up so that it suffices as a cost cap."""
    digits = 2 if amount >= 10 else 4
    return f"${math.ceil(amount * 10**digits) / 10**digits:.{digits}f}"


def print_recording(recording: Recording) -> None:
    """Prints what the recording contains, what is missing, and why."""
    console = stdout_console()
    counts, files = recording.counts, [file for file in recording.files if file.get("path")]
    size = format_bytes(sum(file["recorded_bytes"] for file in files)).replace(" ", NO_BREAK_SPACE)
    rows = [
        (say("jobs", "任务"), str(counts["jobs"])),
        (say("files", "文件"), f"{len(files)} ({size})"),
        (say("stored", "保存的对话补全"), str(counts["stored_completions"])),
        (say("batches", "批处理"), str(counts["batches"])),
    ]
    print_rows(console, rows)
    for model in recording.answers:
        console.print(plain(model.model, "bold"), soft_wrap=True)
        answered = [(say("answers", "回答"), f"{model.answered}/{model.questions}")]
        print_rows(console, [*answered, *([("!", str(model.stopped["message"]))] if model.stopped else [])])
    if recording.answers:
        requests = recording.requests
        text = say(
            f"{requests.get('sent', 0)} requests sent, {requests.get('lost_in_all_runs', 0)} lost in all runs "
            f"(may have been billed), ${recording.spent_usd:.4f} in all runs.",
            f"本次发出 {requests.get('sent', 0)} 个请求；历次丢失 {requests.get('lost_in_all_runs', 0)} 个"
            f"（可能已计费）；历次合计 ${recording.spent_usd:.4f}。",
        )
        console.print(wrap(text, console.width))
    for line in _missing(recording):
        console.print(wrap(line, console.width), style="yellow")
    folder = recording.folder.root
    if recording.is_complete:
        console.print(plain(say(f"Complete: {folder}", f"录制完成：{folder}")), soft_wrap=True)
        return
    console.print(plain(say(f"Incomplete: {folder}", f"尚未完成：{folder}"), "bold red"), soft_wrap=True)
    if recording.is_final:
        console.print(wrap(say("The missing part can no longer be recorded: its models have been switched off.",
                               "缺失的部分无法再录制：模型已关闭。"), console.width))  # fmt: skip
        return
    console.print(wrap(say("Run the same command again to record what is missing.",
                           "重新运行同一条命令即可补录缺失的部分。"), console.width))  # fmt: skip


def _missing(recording: Recording) -> Iterator[str]:
    from luthier.migrate.inventory_text import gap_text

    if recording.without_answers:
        yield recording.without_answers
    for file in recording.deleted_files:
        yield say(f"{file['id']} had already been deleted from the account.", f"{file['id']} 早已从账号中删除。")
    for file in recording.failed_files:
        message = file["error"]["message"]
        yield say(f"{file['id']} could not be downloaded: {message}", f"{file['id']} 无法下载：{message}")
    yield from map(gap_text, recording.gaps)
    if recording.vision_jobs:
        jobs = ", ".join(recording.vision_jobs)
        yield say(f"Trained on images: recorded, but Luthier cannot train on them: {jobs}",
                  f"用图像训练，已录制，但 Luthier 不能训练：{jobs}")  # fmt: skip
    for job in recording.inventory.jobs:
        yield from (f"{job.id}: {warning}" for warning in job.warnings())
