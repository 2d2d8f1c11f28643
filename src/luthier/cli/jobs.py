"""`luthier jobs`: `client.fine_tuning.jobs` on the command line, and result files as CSV or plot."""

from __future__ import annotations

import base64
import binascii
import csv
import io
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import check_kind, open_client
from luthier.cli.errors import CliError
from luthier.cli.job_metrics import metrics_by_step
from luthier.cli.jobs_manage import delete, groups, rename
from luthier.cli.local import settings_of, trackers_folder
from luthier.cli.options import GeneratedFile, Options, option, pass_options, server_options
from luthier.cli.output import local_time, note, print_details, print_json, print_table, stdout_console, to_json
from luthier.cli.plot import VALIDATION_MARK, Point, loss_plot
from luthier.cli.progress_texts import event_text, status_text
from luthier.cli.svg_chart import Series, line_chart
from luthier.language import say
from luthier.types import job_options
from luthier.types.names import TRACKERS

if TYPE_CHECKING:
    from openai.types.fine_tuning import FineTuningJob

PAGE_SIZE = 100


@click.group(
    invoke_without_command=True,
    help=say(
        "List jobs; subcommands show or control one job.\n\nExample: luthier jobs results ftjob-abc123 --plot",
        "列出微调任务；子命令用来查看或控制某个任务。\n\n例子：luthier jobs results ftjob-abc123 --plot",
    ),
)
@server_options
@click.pass_context
def jobs(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_jobs)


@jobs.command(
    "list",
    help=say("List jobs, newest first.\n\nExample: luthier jobs list --limit 5",
             "列出微调任务，新的在前。\n\n例子：luthier jobs list --limit 5"),
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@server_options
@pass_options
def list_jobs(options: Options, limit: int) -> None:
    with open_client(options) as client:
        listed = list(islice(client.fine_tuning.jobs.list(limit=min(limit, PAGE_SIZE)), limit))
        check_kind(client, listed, "fine_tuning.job")
    if options.json:
        print_json([to_json(job) for job in listed])
        return
    columns = (
        say("id", "编号"),
        say("status", "状态"),
        say("model", "模型"),
        say("created", "创建时间"),
        say("result", "结果"),
    )
    rows = [
        (job.id, status_text(job.status), job.model, local_time(job.created_at), job.fine_tuned_model or _error(job))
        for job in listed
    ]
    print_table(
        columns, rows, empty=say("No jobs yet: luthier tune train.jsonl", "还没有任务：luthier tune train.jsonl")
    )


def _error(job: FineTuningJob) -> str | None:
    return job.error.code if job.error else None


@jobs.command(
    "show",
    help=say("Show one job.\n\nExample: luthier jobs show ftjob-abc123",
             "查看一个微调任务。\n\n例子：luthier jobs show ftjob-abc123"),
)  # fmt: skip
@click.argument("job_id")
@server_options
@pass_options
def show(options: Options, job_id: str) -> None:
    with open_client(options) as client:
        details = to_json(client.fine_tuning.jobs.retrieve(job_id))
    if options.json:
        print_json(details)
    else:
        print_details(details | {"status": status_text(details["status"])})


@jobs.command(
    "events",
    help=say(
        "List the latest events, oldest first; with --json in the server's order, newest first.\n\n"
        "Example: luthier jobs events ftjob-abc123 --limit 50",
        "最近的事件，旧的在前；加 --json 时保持服务器的顺序，新的在前。\n\n"
        "例子：luthier jobs events ftjob-abc123 --limit 50",
    ),
)
@click.argument("job_id")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@server_options
@pass_options
def events(options: Options, job_id: str, limit: int) -> None:
    with open_client(options) as client:
        newest = list(islice(client.fine_tuning.jobs.list_events(job_id, limit=min(limit, PAGE_SIZE)), limit))
    if options.json:
        print_json([to_json(event) for event in newest])
        return
    columns = (say("time", "时间"), say("level", "级别"), say("message", "消息"))
    rows = [(local_time(event.created_at), event.level, event_text(event.message)) for event in reversed(newest)]
    print_table(columns, rows, text_column=True, empty=say("No events yet.", "还没有事件。"))
    if len(newest) == limit:
        note(say(f"Only the last {limit}; --limit shows more.", f"仅最近 {limit} 条；用 --limit 查看更多。"), "dim")


@jobs.command(
    "checkpoints",
    help=say("List the checkpoints of a job; each is a model that can be used by its name.\n\n"
             "Example: luthier jobs checkpoints ftjob-abc123",
             "微调任务的检查点；每个都是可按名称使用的模型。\n\n例子：luthier jobs checkpoints ftjob-abc123"),
)  # fmt: skip
@click.argument("job_id")
@server_options
@pass_options
def checkpoints(options: Options, job_id: str) -> None:
    with open_client(options) as client:
        listed = [to_json(checkpoint) for checkpoint in client.fine_tuning.jobs.checkpoints.list(job_id)]
    if options.json:
        print_json(listed)
        return
    columns = (
        say("model", "模型"),
        say("step", "步"),
        say("training loss", "训练损失"),
        say("validation loss", "验证损失"),
    )
    rows = [_checkpoint_row(checkpoint) for checkpoint in listed]
    print_table(columns, rows, empty=say("No checkpoints yet.", "还没有检查点。"))


def _checkpoint_row(checkpoint: dict[str, Any]) -> tuple[object, ...]:
    metrics = checkpoint.get("metrics") or {}
    valid = metrics.get("full_valid_loss", metrics.get("valid_loss"))
    losses = [None if loss is None else f"{loss:.4f}" for loss in (metrics.get("train_loss"), valid)]
    return checkpoint["fine_tuned_model_checkpoint"], checkpoint["step_number"], *losses


def _add_control_command(name: str, en: str, zh: str) -> None:
    """Adds the command `luthier jobs NAME ID`, which calls the client's method NAME and prints the new status."""

    @jobs.command(
        name,
        help=say(
            f"{en}\n\nExample: luthier jobs {name} ftjob-abc123", f"{zh}\n\n例子：luthier jobs {name} ftjob-abc123"
        ),
    )
    @click.argument("job_id")
    @server_options
    @pass_options
    def control(options: Options, job_id: str) -> None:
        with open_client(options) as client:
            job: FineTuningJob = getattr(client.fine_tuning.jobs, name)(job_id)
        print_json(to_json(job)) if options.json else note(f"{job.id}  {status_text(job.status)}")


for _command in (rename, delete, groups):
    jobs.add_command(_command)
_add_control_command("cancel", "Cancel a job permanently.", "取消微调任务，不可恢复。")
_add_control_command("pause", "Pause a job; its progress is saved.", "暂停微调任务，进度会保存。")
_add_control_command("resume", "Resume a paused job.", "恢复已暂停的微调任务。")


@jobs.command(
    "priority",
    help=say(
        "Change a job's priority, from -10 to 10: waiting jobs with a higher priority start first. A priority above 0 "
        "also takes precedence over the jobs of other projects and needs an admin key.\n\n"
        "Example: luthier jobs priority ftjob-abc123 5",
        "修改任务的优先级（-10 到 10）：等待的任务中数值大的先开始。大于 0 的优先级会排到其他项目的任务之前，"
        "需要管理员密钥。\n\n例子：luthier jobs priority ftjob-abc123 5",
    ),
    context_settings={"ignore_unknown_options": True},  # so that -5 is a number and not an option
)
@click.argument("job_id")
@click.argument("priority", type=click.IntRange(-job_options.MAX_PRIORITY, job_options.MAX_PRIORITY))
@server_options
@pass_options
def set_priority(options: Options, job_id: str, priority: int) -> None:
    import httpx

    with open_client(options) as client:
        path, body = f"/luthier/jobs/{job_id}/priority", {"priority": priority}
        view = client.post(path, body=body, cast_to=httpx.Response).json()
    if options.json:
        print_json(view)
        return
    place = view["queue"]
    ahead = say(f", {place['ahead']} jobs ahead", f"，前面还有 {place['ahead']} 个任务") if place else ""
    note(say(f"{job_id}  priority {priority}{ahead}", f"{job_id}  优先级 {priority}{ahead}"))


@jobs.command(
    "results",
    help=say(
        "Print the result file of a job as CSV: step, losses, accuracies; --plot draws the loss curves instead, --svg "
        "writes them to a file.\n\n"
        "Example: luthier jobs results ftjob-abc123 --plot",
        "以 CSV 打印任务的结果文件：步、损失、准确率；--plot 改为画出损失曲线，--svg 把曲线写入文件。\n\n"
        "例子：luthier jobs results ftjob-abc123 --plot",
    ),
)
@click.argument("job_id")
@click.option("--plot", is_flag=True, help=say("Draw the loss curves.", "画出损失曲线。"))
@click.option(
    "--svg",
    type=GeneratedFile(".svg"),
    metavar="FILE.svg",
    help=say("Write the loss curves as an SVG file.", "把损失曲线写成 SVG 文件。"),
)
@server_options
@pass_options
def job_results(options: Options, job_id: str, plot: bool, svg: Path | None) -> None:
    with open_client(options) as client:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if not job.result_files:
            raise CliError(
                say(
                    f"{job_id} has no result file: it is {job.status}.",
                    f"{job_id} 没有结果文件：状态为{status_text(job.status)}。",
                ),
                say(f"Wait for it to end: luthier watch {job_id}", f"等待任务结束：luthier watch {job_id}"),
            )
        text = decode_results(client.files.content(job.result_files[0]).read())
    rows = [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(io.StringIO(text))]
    if svg:
        svg.write_text(_svg_plot(job_id, rows), encoding="utf-8")
        note(say(f"Wrote the loss curves to {svg}.", f"损失曲线已写入 {svg}。"))
    if options.json:
        print_json(rows)
    elif svg and not plot:
        return
    elif plot:
        _print_plot(rows)
    else:
        click.echo(text, nl=not text.endswith("\n"))


@jobs.command(
    "track",
    help=say(
        "Send the metrics of a job, running or finished, to an experiment tracker: wandb, tensorboard, mlflow, "
        "trackio or swanlab. Keys and addresses come from the settings. Prints where the run is stored.\n\n"
        "Example: luthier jobs track ftjob-abc123 --to tensorboard",
        "把任务（运行中或已结束）的指标发往实验跟踪工具：wandb、tensorboard、mlflow、trackio 或 swanlab。"
        "密钥和地址取自设置。打印运行记录所在位置。\n\n例子：luthier jobs track ftjob-abc123 --to tensorboard",
    ),
)
@click.argument("job_id")
@option("--to", "The tracker.", "实验跟踪工具。", name="tracker", required=True, type=click.Choice(TRACKERS))
@option("--project", "The tracker's project.", "跟踪工具中的项目。", default="luthier")
@server_options
@pass_options
def track(options: Options, job_id: str, tracker: str, project: str) -> None:
    from luthier.worker.trackers.tracker import open_tracker, run_of_job

    with open_client(options) as client:
        job = to_json(client.fine_tuning.jobs.retrieve(job_id))
        points = metrics_by_step(client, job_id)
    if not points:
        raise CliError(say(f"{job_id} has no metrics.", f"{job_id} 没有指标。"))
    settings = settings_of(options)
    run = run_of_job(job, settings, trackers_folder(settings))
    opened = open_tracker(tracker, replace(run, project=project))
    for step, metrics in points.items():
        opened.log(step, metrics)
    opened.finish()
    result = {"job": job_id, "tracker": tracker, "place": opened.place, "steps": len(points)}
    print_json(result) if options.json else click.echo(opened.place)


def decode_results(content: bytes) -> str:
    """The CSV of a result file, which OpenAI sends in base64 for chat models and as text for completion models.

    Raises:
        CliError: The content is not a CSV.
    """
    try:
        # A CSV with several columns contains commas, and base64 does not.
        return (content if b"," in content else base64.b64decode(content)).decode("utf-8-sig")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise CliError(say("The result file is not a CSV.", "结果文件不是 CSV。")) from error


def _number(value: str | None) -> float | int | None:
    if not value:
        return None
    number = float(value)
    return int(number) if number.is_integer() and "." not in value else number


def _svg_plot(job_id: str, rows: list[dict[str, Any]]) -> str:
    names = (("train_loss", say("training loss", "训练损失")), ("valid_loss", say("validation loss", "验证损失")))
    series = [
        Series(name, [(row["step"], row[key]) for row in rows if row.get(key) is not None]) for key, name in names
    ]
    return line_chart(job_id, say("step", "步"), say("loss", "损失"), [line for line in series if line.points])


def _print_plot(rows: list[dict[str, Any]]) -> None:
    points = [Point(int(row["step"]), row.get("train_loss"), row.get("valid_loss")) for row in rows]
    console = stdout_console()
    plot = loss_plot(points, width=max(20, min(console.width, 100) - 12))
    if not plot:
        note(say("The result file contains no losses.", "结果文件里没有损失值。"))
        return
    console.print(say(f"█ training loss  {VALIDATION_MARK} validation loss", f"█ 训练损失  {VALIDATION_MARK} 验证损失"))
    console.print(plot)
