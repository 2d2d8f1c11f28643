"""`luthier reproduce`: trains a model again from the same files and hyperparameters, and compares every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import has_server_address, open_connection
from luthier.cli.errors import CliError
from luthier.cli.job_metrics import metrics_by_step
from luthier.cli.local import local_store, settings_of
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import note, print_json, stderr_console, to_json
from luthier.cli.watch import detaching, print_outcome, watch_job
from luthier.language import say

if TYPE_CHECKING:
    import openai

Metrics = Mapping[int, Mapping[str, float]]
_COPIED = ("model", "training_file", "validation_file", "seed", "method", "metadata")


@click.command(
    help=say(
        "Train a fine-tuned model again, from the same files with the same hyperparameters and seed, and compare the "
        "losses of every step. MODEL is its name or the id of its job. Exit code 1 if they differ.\n\n"
        "Example: luthier reproduce ft:gpt-3.5-turbo-0125:personal::abc12345",
        "用同样的文件、超参数和随机种子重新训练一个微调模型，并比较每一步的损失。MODEL 为模型名称或其任务编号。"
        "如有不同，退出码为 1。\n\n例子：luthier reproduce ft:gpt-3.5-turbo-0125:personal::abc12345",
    )
)
@click.argument("model")
@server_options
@pass_options
def reproduce(options: Options, model: str) -> None:
    with open_connection(options) as connection:
        client = connection.client
        job = _job_of(client, model)
        before = metrics_by_step(client, job["id"])
        if not before:
            raise CliError(say(f"{job['id']} has no metrics to compare with.", f"{job['id']} 没有可比较的指标。"))
        created = client.fine_tuning.jobs.create(**{name: job[name] for name in _COPIED if job.get(name) is not None})
        with detaching(connection, options, created.id):
            repeated = watch_job(client, created.id, stderr_console())
        if repeated.status != "succeeded":
            raise click.exceptions.Exit(print_outcome(repeated))
        after = metrics_by_step(client, repeated.id)
    document = {
        "object": "model.reproduction",
        "model": job.get("fine_tuned_model"),
        "job": job["id"],
        "repeated_model": repeated.fine_tuned_model,
        "repeated_job": repeated.id,
        **compare_metrics(before, after),
        "other_settings": {} if has_server_address(options) else _other_settings(options, job["id"], repeated.id),
    }
    print_json(document) if options.json else _print_comparison(document)
    raise click.exceptions.Exit(0 if document["equal"] else 1)


def compare_metrics(before: Metrics, after: Metrics) -> dict[str, Any]:
    """Whether all steps have equal metrics, the first step that differs, and the largest difference of a loss."""
    steps = sorted(before.keys() | after.keys())
    differing = [step for step in steps if before.get(step) != after.get(step)]
    shared = [step for step in steps if step in before and step in after]
    gaps = [
        abs(value - after[step][name])
        for step in shared
        for name, value in before[step].items()
        if name.endswith("loss") and name in after[step]
    ]
    first = differing[0] if differing else None
    return {
        "steps": len(steps),
        "equal": not differing,
        "largest_difference": max(gaps, default=None),
        "first_difference": first and {"step": first, "before": before.get(first), "after": after.get(first)},
    }


def _job_of(client: openai.OpenAI, model: str) -> dict[str, Any]:
    """The job that trained a model, given the model's name or the job's id. Raises CliError if there is none."""
    if model.startswith("ftjob-"):
        return to_json(client.fine_tuning.jobs.retrieve(model))
    for job in client.fine_tuning.jobs.list(limit=100):
        if job.fine_tuned_model == model:
            return to_json(job)
    raise CliError(
        say(f"No job here has trained {model}.", f"这里没有训练过 {model} 的任务。"),
        say(
            "For a checkpoint, give the id of its job: luthier reproduce ftjob-…",
            "检查点请给出其任务编号：luthier reproduce ftjob-…",
        ),
    )


def _other_settings(options: Options, job_id: str, repeated_id: str) -> dict[str, Any]:
    """The settings, data and code that differ between the two jobs: name → [then, now]."""
    from luthier.lineage import recorded_conditions

    with local_store(settings_of(options)) as store:
        then, now = (recorded_conditions(store.jobs.get(job), store) for job in (job_id, repeated_id))
    return {name: [then.get(name), now[name]] for name in now if name in then and then[name] != now[name]}


def _print_comparison(document: dict[str, Any]) -> None:
    steps, other = document["steps"], document["other_settings"]
    if document["equal"]:
        click.echo(say(f"Equal: all {steps} steps have the same metrics.", f"相同：全部 {steps} 步的指标一致。"))
        return
    first, largest = document["first_difference"]["step"], document["largest_difference"]
    size = say("the steps are not the same", "步数不同") if largest is None else f"{largest:.2g}"
    click.echo(
        say(f"Different from step {first} on; the largest difference between losses is {size}.",
            f"从第 {first} 步起不同；损失的最大差值：{size}。")
    )  # fmt: skip
    for name, (then, now) in other.items():
        note(say(f"{name} was {then} and is now {now}.", f"{name} 当时为 {then}，现在为 {now}。"))
    if not other:
        note(
            say("Rounding differs on another machine or with another number of threads.",
                "不同的机器或线程数会有不同的舍入。")
        )  # fmt: skip
