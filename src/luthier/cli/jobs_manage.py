"""`luthier jobs rename`, `delete` and `groups`, for which the `openai` client has no methods."""

from __future__ import annotations

import sys
from urllib.parse import quote

import click

from luthier.cli.client import call
from luthier.cli.options import Options, option, pass_options, server_options
from luthier.cli.output import note, plural, print_json, print_table
from luthier.cli.progress_texts import status_text
from luthier.language import say


@click.command(
    help=say(
        "Name a job in the dashboard; its models keep their names. An empty name removes it.\n\n"
        'Example: luthier jobs rename ftjob-abc123 "weather, 3 epochs"',
        "给任务一个在仪表板中显示的名称；模型的名称不变。名称为空时删除原来的名称。\n\n"
        '例子：luthier jobs rename ftjob-abc123 "天气，3 轮"',
    ),
)
@click.argument("job_id")
@click.argument("name")
@server_options
@pass_options
def rename(options: Options, job_id: str, name: str) -> None:
    view = call(options, "post", f"/luthier/jobs/{quote(job_id, safe='')}", {"name": name.strip() or None})
    if options.json:
        print_json(view)
    elif view["name"]:
        note(say(f"{job_id} is now called {view['name']}.", f"{job_id} 现在名为“{view['name']}”。"))
    else:
        note(say(f"{job_id} no longer has a name.", f"{job_id} 不再有名称。"))


@click.command(
    help=say(
        "Delete a finished job with its events and result file; its training files are kept. On a terminal it asks "
        "for confirmation. --models also deletes the models that it trained; without it, a job that has models is not "
        "deleted.\n\n"
        "Example: luthier jobs delete ftjob-abc123 --models",
        "删除已结束的任务，连同事件和结果文件；训练文件保留。在终端上会先确认。"
        "--models 同时删除它训练出的模型：不加时，有模型的任务不会被删除。\n\n"
        "例子：luthier jobs delete ftjob-abc123 --models",
    ),
)
@click.argument("job_id")
@option("--models", "Delete its models and checkpoints too.", "同时删除它的模型和检查点。", is_flag=True)
@option("--yes", "Do not ask for confirmation.", "不再确认。", is_flag=True)
@server_options
@pass_options
def delete(options: Options, job_id: str, models: bool, yes: bool) -> None:
    if not yes and sys.stdin.isatty():
        question = (
            say(f"Delete {job_id} and its models permanently?", f"永久删除 {job_id} 及其模型？")
            if models
            else say(f"Delete {job_id} permanently?", f"永久删除 {job_id}？")
        )
        click.confirm(question, abort=True, err=True)
    deleted = call(options, "delete", f"/luthier/jobs/{quote(job_id, safe='')}?models={str(models).lower()}")
    if options.json:
        print_json(deleted)
        return
    count = len(deleted["models"])
    note(
        say(f"Deleted {job_id} and {plural(count, 'model')}.", f"已删除 {job_id} 和 {count} 个模型。")
        if count
        else say(f"Deleted {job_id}.", f"已删除 {job_id}。")
    )


@click.command(
    help=say(
        "Group jobs by the value of a metadata key; without KEY, list the existing keys.\n\n"
        "Example: luthier jobs groups team",
        "按元数据中某个键的值给任务分组；不给出 KEY 时列出有哪些键。\n\n例子：luthier jobs groups team",
    ),
)
@click.argument("key", required=False)
@server_options
@pass_options
def groups(options: Options, key: str | None) -> None:
    grouped = call(options, "get", "/luthier/jobs/groups" + (f"?by={quote(key, safe='')}" if key else ""))
    if options.json:
        print_json(grouped)
        return
    if key is None:
        empty = say("No job has metadata yet.", "还没有带元数据的任务。")
        print_table((say("key", "键"),), [(name,) for name in grouped["keys"]], empty=empty)
        return
    rows = [
        (
            say("(none)", "（无）") if group["value"] is None else group["value"],
            group["jobs"],
            ", ".join(f"{count} {status_text(status)}" for status, count in sorted(group["by_status"].items())),
        )
        for group in grouped["data"]
    ]
    print_table((key, say("jobs", "任务数"), say("status", "状态")), rows, empty=say("No jobs yet.", "还没有任务。"))
