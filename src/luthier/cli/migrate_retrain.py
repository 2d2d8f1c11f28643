"""`luthier migrate retrain`: trains a successor of each recorded model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import open_connection
from luthier.cli.errors import CliError
from luthier.cli.migrate_bases import Proposals
from luthier.cli.migrate_text import plain, print_rows, print_wrapped
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import note, plural, print_json, stderr_console, stdout_console
from luthier.cli.watch import watch_job
from luthier.language import say

if TYPE_CHECKING:
    import openai

    from luthier.migrate.retraining import RetrainPlan
    from luthier.migrate.successors import Successors


@click.command(
    short_help=say("Train a successor of each recorded model.", "为每个录制的模型训练后继。"),
    help=say(
        "Train a successor of each recorded model: one job here per old job, from its recorded training file or, if "
        "that is gone, from the recorded answers (distillation). Hyperparameters are `auto` unless --hyperparameters "
        "recorded is given. Models that already have a successor are skipped, so the command can be repeated. Exit "
        "code 0 if every model has a successor or cannot have one, 1 if a job failed.\n\n"
        "Example: luthier migrate retrain recording --dry-run\n\n"
        "Example: luthier migrate retrain recording --base auto",
        "为每个录制的模型训练后继：每个微调对应这里的一个任务，用录制的训练文件；训练文件已不存在时，"
        "用录制的回答（蒸馏）。超参数默认为 auto，除非加 --hyperparameters recorded。"
        "已有后继的模型会略过，可以重复运行。"
        "每个模型都有后继或无法训练时退出码为 0，有任务失败时为 1。\n\n"
        "例子：luthier migrate retrain recording --dry-run\n\n"
        "例子：luthier migrate retrain recording --base auto",
    ),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", "models", multiple=True, metavar="NAME",
              help=say("Only this old model; repeatable.", "只训练该旧模型的后继；可重复。"))  # fmt: skip
@click.option(
    "--base",
    metavar="NAME",
    help=say(
        "The base to train on; `auto` is the one that --dry-run proposes. Default: the model that the old base's name "
        "stands for here.",
        "用来训练的基座；auto 表示用 --dry-run 建议的那个。默认为旧基座名称在这里代表的模型。",
    ),
)
@click.option(
    "--hyperparameters",
    type=click.Choice(["auto", "recorded"]),
    default="auto",
    show_default=True,
    help=say(
        "Choose hyperparameters for the new base, or reuse those of the old job.",
        "为新基座自动选择超参数，或沿用旧任务的。",
    ),
)
@click.option("--dry-run", is_flag=True, help=say("Only show the plan.", "只显示计划。"))
@click.option("--no-watch", is_flag=True, help=say("Create the jobs and return.", "创建任务后立即返回。"))
@server_options
@pass_options
def retrain(
    options: Options,
    folder: Path,
    models: tuple[str, ...],
    base: str | None,
    hyperparameters: str,
    dry_run: bool,
    no_watch: bool,
) -> None:
    from luthier.migrate.recorded import recorded_models
    from luthier.migrate.retraining import RetrainOptions, plan_retraining

    recorded = recorded_models(folder, models)
    choose = base == "auto"
    plans = plan_retraining(recorded, RetrainOptions(None if choose else base, hyperparameters == "recorded"))
    if dry_run or choose:
        proposals = Proposals.of_plans(options, plans)
        plans = proposals.applied(plans) if choose else plans
    if dry_run:
        proposals.print_plans(options, plans)
        return
    with open_connection(options) as connection:
        if no_watch and connection.embedded:
            note(say("--no-watch is ignored: the server ends with this command.",
                     "已忽略 --no-watch：服务器会随本命令结束。"))  # fmt: skip
            no_watch = False
        rows = list(_train(connection.client, plans, watch=not no_watch))
    if options.json:
        print_json({"models": rows})
    else:
        _print_rows(rows)
    raise click.exceptions.Exit(1 if any(row["status"] in ("failed", "cancelled") for row in rows) else 0)


def _train(client: openai.OpenAI, plans: Sequence[RetrainPlan], *, watch: bool) -> Iterable[dict[str, Any]]:
    """Creates the jobs of the plans one after the other, and yields a row for each; `watch` waits for its end."""
    from luthier.migrate.successors import Successors

    successors = Successors(client)
    for number, plan in enumerate(plans, start=1):
        if plan.skipped:
            yield {"model": plan.model, "status": "skipped", "reason": plan.skipped, "job": None, "successor": None}
            continue
        job = successors.job_of(plan.model)
        if job is None:
            note(f"[{number}/{len(plans)}] {plan.model}", "bold")
            _check_parent(successors, plan)
            job = successors.create_job(plan)
        if watch:
            job = watch_job(client, job.id, stderr_console())
        reason = job.error.message if job.error else None
        successor = job.fine_tuned_model if job.status == "succeeded" else None
        yield {"model": plan.model, "status": job.status, "reason": reason, "job": job.id, "successor": successor}


def _check_parent(successors: Successors, plan: RetrainPlan) -> None:
    """Raises CliError if the model that the plan continues is still being trained."""
    if plan.start.startswith("ft:") and successors.job_of(plan.start) and successors.model_of(plan.start) is None:
        raise CliError(
            say(f"{plan.model} continues from {plan.start}, whose successor is still being trained.",
                f"{plan.model} 要接着 {plan.start} 训练，而后者的后继还在训练。"),
            say("Run the same command again afterwards; without --no-watch it waits for each successor.",
                "请稍后重新运行；不加 --no-watch 会逐个等待。"),
        )  # fmt: skip


def _print_rows(rows: Sequence[dict[str, Any]]) -> None:
    console = stdout_console()
    for row in rows:
        console.print(plain(row["model"], "bold"), soft_wrap=True)
        fields = [(say("job", "任务"), f"{row['job'] or '–'}, {row['status']}")]
        if row["successor"]:
            fields.append((say("successor", "后继"), row["successor"]))
        if row["reason"]:
            fields.append(("!", row["reason"]))
        print_rows(console, fields)
    trained = sum(bool(row["successor"]) for row in rows)
    print_wrapped(
        say(
            f"{plural(trained, 'successor')} of {plural(len(rows), 'model')}. Compare with the old models: luthier "
            "migrate report FOLDER",
            f"{len(rows)} 个模型有 {trained} 个后继。与旧模型比较：luthier migrate report FOLDER",
        )
    )
