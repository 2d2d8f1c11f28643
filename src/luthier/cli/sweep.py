"""`luthier sweep`: the same files trained with several hyperparameters, ranked by validation loss.

Each combination is a job like any other, created through `client.fine_tuning.jobs`, so a sweep runs wherever jobs run.
The rank of the adapter travels in the job's metadata, which only Luthier reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.connect import open_connection
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import note, notices, print_json, print_table
from luthier.cli.tune import file_to_check, uploaded
from luthier.cli.watch import leaving, watch_job
from luthier.language import say
from luthier.types.job_options import RANK, SWEEP

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob

_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#e377c2", "#7f7f7f")
_WIDTH, _HEIGHT = 720, 400


def several(number: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """An option's type: numbers with commas between, each above zero."""

    def convert(text: str) -> list[Any]:
        try:
            found = [number(part) for part in text.split(",")]
        except ValueError:
            found = [0]
        if not all(value > 0 for value in found):
            said = say(f"{text} is no list of numbers such as 0.3,1,3.", f"{text} 不是数字列表，例如 0.3,1,3。")
            raise click.BadParameter(said)
        return list(dict.fromkeys(found))

    return convert


def grid(choices: dict[str, list[Any] | None]) -> list[dict[str, Any]]:
    """Every combination of what was given."""
    given = {name: values for name, values in choices.items() if values}
    return [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())]


def _create(
    client: openai.OpenAI, files: dict[str, str], model: str, seed: int, chosen: dict[str, Any]
) -> FineTuningJob:
    hyperparameters: Any = {name: value for name, value in chosen.items() if name != "rank"}
    metadata = {RANK: str(chosen["rank"])} if "rank" in chosen else {}
    given: dict[str, Any] = {**files, "metadata": {SWEEP: "grid", **metadata}}
    return client.fine_tuning.jobs.create(model=model, seed=seed, hyperparameters=hyperparameters, **given)


def _curve(client: openai.OpenAI, job_id: str) -> list[tuple[int, float]]:
    """(step, full validation loss), oldest first."""
    found = []
    for event in client.fine_tuning.jobs.list_events(job_id, limit=100):
        data: Any = event.data
        if event.type == "metrics" and data and data.get("full_valid_loss") is not None:
            found.append((int(data["step"]), float(data["full_valid_loss"])))
    return found[::-1]


def ranked(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lowest validation loss first; jobs without one last."""
    return sorted(results, key=lambda result: (result["valid_loss"] is None, result["valid_loss"] or 0.0))


def svg(results: list[dict[str, Any]]) -> str:
    """Validation losses by step as a picture of its own, a line each, the best first in the legend."""
    points = [point for result in results for point in result["curve"]]
    last = max((step for step, _ in points), default=1)
    low, high = (edge((loss for _, loss in points), default=0.0) for edge in (min, max))
    made = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif">']
    for place, (result, colour) in enumerate(zip(results, itertools.cycle(_COLOURS), strict=False)):
        drawn = [
            (50 + (_WIDTH - 300) * step / last, 20 + (_HEIGHT - 60) * (high - loss) / max(high - low, 1e-9))
            for step, loss in result["curve"]
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
        made.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>')
        made += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in drawn]
        named = ", ".join(f"{name} {value}" for name, value in result["hyperparameters"].items())
        made.append(f'<text x="{_WIDTH - 235}" y="{30 + 18 * place}" font-size="11" fill="{colour}">{named}</text>')
    made.append(f'<text x="4" y="24">{high:.3f}</text><text x="4" y="{_HEIGHT - 40}">{low:.3f}</text>')
    made.append(f'<text x="50" y="{_HEIGHT - 10}">full_valid_loss / step (1-{last})</text></svg>')
    return "\n".join(made) + "\n"


def _result(client: openai.OpenAI, job: FineTuningJob, chosen: dict[str, Any]) -> dict[str, Any]:
    curve = _curve(client, job.id)
    best = min((loss for _, loss in curve), default=None) if job.status == "succeeded" else None
    return {
        "job": job.id,
        "status": job.status,
        "fine_tuned_model": job.fine_tuned_model,
        "hyperparameters": chosen,
        "valid_loss": best,
        "curve": curve,
    }


def _show(results: list[dict[str, Any]]) -> None:
    names = list(results[0]["hyperparameters"])
    worst = max((result["valid_loss"] for result in results if result["valid_loss"] is not None), default=0.0)
    rows = []
    for result in results:
        loss = result["valid_loss"]
        shown = "—" if loss is None else f"{loss:.4f}"
        bar = "" if loss is None else "█" * max(1, round(24 * loss / max(worst, 1e-9)))
        values = (result["hyperparameters"][name] for name in names)
        rows.append((result["fine_tuned_model"] or result["job"], *values, result["status"], shown, bar))
    print_table(("model", *names, "status", "valid_loss", ""), rows)


@click.command(
    help=say(
        "Train on TRAIN_FILE with every combination of the numbers given, one job after the other, and rank them by "
        "validation loss. Exit code 1 if no job succeeds.\n\n"
        "Example: luthier sweep train.jsonl --validation valid.jsonl --learning-rate-multiplier 0.3,1,3 --epochs 2,4",
        "用给出的各组数值依次在 TRAIN_FILE 上训练，并按验证损失排名。没有任务成功时退出码为 1。\n\n"
        "例子：luthier sweep train.jsonl --validation valid.jsonl --learning-rate-multiplier 0.3,1,3 --epochs 2,4",
    )
)
@click.argument("train_file")
@click.option(
    "--validation",
    required=True,
    metavar="FILE",
    help=say("The validation file, a path or an id.", "验证文件：路径或编号。"),
)
@click.option("--model", default="gpt-3.5-turbo", show_default=True, help=say("The model to start from.", "起始模型。"))
@click.option(
    "--learning-rate-multiplier",
    type=several(float),
    metavar="X,X",
    help=say("Of the learning rate.", "学习率的倍数。"),
)
@click.option("--epochs", "n_epochs", type=several(int), metavar="N,N", help=say("Passes over the file.", "训练轮数。"))
@click.option("--batch-size", type=several(int), metavar="N,N", help=say("Examples per step.", "每步的样本数。"))
@click.option(
    "--rank",
    type=several(int),
    metavar="N,N",
    help=say("Of the adapter; on Luthier only.", "适配器的秩；仅限 Luthier。"),
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help=say("The same for all jobs.", "所有任务共用的随机种子。")
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.svg",
    help=say("Write the validation losses as a picture.", "把验证损失画成图片。"),
)
@server_options
@pass_options
def sweep(
    options: Options,
    /,
    train_file: str,
    validation: str,
    model: str,
    seed: int,
    plot: Path | None,
    **choices: list[Any] | None,
) -> None:
    combinations = grid(choices)
    if combinations == [{}]:
        raise click.UsageError(say("Give at least one list of numbers to try.", "请至少给出一组要尝试的数值。"))
    paths = file_to_check(train_file), file_to_check(validation)
    results = []
    with open_connection(options) as connection:
        client = connection.client
        files = {
            "training_file": uploaded(client, train_file, paths[0]) or train_file,
            "validation_file": uploaded(client, validation, paths[1]) or validation,
        }
        for number, chosen in enumerate(combinations, 1):
            named = ", ".join(f"{name}={value}" for name, value in chosen.items())
            note(
                say(f"Job {number} of {len(combinations)}: {named}", f"第 {number}/{len(combinations)} 个任务：{named}")
            )
            job = _create(client, files, model, seed, chosen)
            with leaving(connection, options, job.id):
                results.append(_result(client, watch_job(client, job.id, notices()), chosen))
    results = ranked(results)
    if plot:
        plot.write_text(svg(results), encoding="utf-8")
        note(str(plot))
    print_json(results) if options.json else _show(results)
    raise click.exceptions.Exit(0 if results[0]["valid_loss"] is not None else 1)
