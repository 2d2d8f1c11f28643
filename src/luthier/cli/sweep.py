"""`luthier sweep`: the same files trained with several hyperparameters, ranked by validation loss and by a task score.

Each combination is a job like any other, created through `client.fine_tuning.jobs`, so a sweep runs wherever jobs run.
The rank of the adapter travels in the job's metadata, which only Luthier reads, and so do the places where the rounds
of `--halving` want the validation loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import open_connection
from luthier.cli.errors import Trouble
from luthier.cli.options import Options, Picture, pass_options, server_options
from luthier.cli.output import note, print_json
from luthier.cli.sweep_jobs import ROUNDS, Trial, Trials, leaving_all
from luthier.cli.sweep_report import ranked, show, svg
from luthier.cli.tune import file_to_check, uploaded
from luthier.language import say
from luthier.types.job_options import RANK, SWEEP, VALIDATE_AT

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob

# Of each: whether answers are calls, and the figure of docs/evaluation.md.
SCORES = {
    "calls": (True, "call_exact"),
    "exact": (False, "exact_match"),
    "chrf": (False, "chrf"),
    "rouge": (False, "rouge_l"),
}


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
    client: openai.OpenAI, files: dict[str, str], model: str, seed: int, halving: bool, chosen: dict[str, Any]
) -> FineTuningJob:
    hyperparameters: Any = {name: value for name, value in chosen.items() if name != "rank"}
    metadata = {SWEEP: "halving", VALIDATE_AT: ",".join(map(str, ROUNDS))} if halving else {SWEEP: "grid"}
    if "rank" in chosen:
        metadata[RANK] = str(chosen["rank"])
    given: dict[str, Any] = {**files, "metadata": metadata}
    return client.fine_tuning.jobs.create(model=model, seed=seed, hyperparameters=hyperparameters, **given)


def _result(client: openai.OpenAI, trial: Trial) -> dict[str, Any]:
    assert trial.job is not None  # noqa: S101 - each was created
    return {
        "job": trial.job.id,
        "status": trial.job.status,
        "fine_tuned_model": trial.job.fine_tuned_model,
        "hyperparameters": trial.chosen,
        "valid_loss": _valid_loss(client, trial),
        "curve": trial.curve,
    }


def _valid_loss(client: openai.OpenAI, trial: Trial) -> float | None:
    """Of the weights that became the model; of a job that was dropped the last that is known."""
    job = trial.job
    if job is None or job.status == "failed" or not trial.curve:
        return None
    if job.status != "succeeded":
        return trial.curve[-1][1]
    kept = client.fine_tuning.jobs.checkpoints.list(job.id)
    made = (one.metrics.full_valid_loss for one in kept if one.fine_tuned_model_checkpoint == job.fine_tuned_model)
    return next((loss for loss in made if loss is not None), None) or min(loss for _, loss in trial.curve)


def _check_questions(path: Path | None, score: str | None) -> None:
    """Before anything is trained: whether the models can be scored. Raises UsageError, Trouble."""
    from luthier.evaluation.run import EvaluationPlan, load_evaluation_set
    from luthier.types.errors import LuthierError

    if score is None:
        return
    if path is None:
        raise click.UsageError(say("--score needs the validation file as a path.", "--score 需要以路径给出验证文件。"))
    try:
        load_evaluation_set(path, EvaluationPlan([""], functions=SCORES[score][0]))
    except LuthierError as error:
        raise Trouble(str(error), say("Take another --score.", "请换一种 --score。")) from error


def _add_scores(client: openai.OpenAI, results: list[dict[str, Any]], path: Path | None, score: str | None) -> None:
    """Each finished model asked the validation file's questions, through the API."""
    from luthier.evaluation import evaluate

    if score is None or path is None:
        return
    functions, figure = SCORES[score]
    for result in results:
        if result["status"] == "succeeded":
            model = result["fine_tuned_model"]
            note(say(f"Scoring {model}", f"评分：{model}"))
            card = evaluate(client, model, path, functions=functions, definitions=("full",)).runs[0]
            result["score"] = card.metrics[figure].value


@click.command(
    help=say(
        "Train on TRAIN_FILE with every combination of the numbers given, one job after the other, and rank them by "
        "validation loss, or by a score. Exit code 1 if no job succeeds. Ctrl-C says what is running or paused.\n\n"
        "Example: luthier sweep train.jsonl --validation valid.jsonl --learning-rate-multiplier 0.3,1,3 --epochs 2,4 "
        "--halving --score exact",
        "用给出的各组数值依次在 TRAIN_FILE 上训练，并按验证损失或得分排名。没有任务成功时退出码为 1。"
        "Ctrl-C 会说明哪些任务在运行或已暂停。\n\n"
        "例子：luthier sweep train.jsonl --validation valid.jsonl --learning-rate-multiplier 0.3,1,3 --epochs 2,4 "
        "--halving --score exact",
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
    "--halving",
    is_flag=True,
    help=say(
        "Successive halving: all combinations get a quarter of their steps, the better half of them half, the better "
        "half of those the rest. Jobs are paused and resumed, so nothing is trained twice. On Luthier only.",
        "逐次减半：所有组合先训练四分之一的步数，较好的一半训练到一半，其中较好的一半训练到结束。"
        "任务会暂停和恢复，不重复训练。仅限 Luthier。",
    ),
)
@click.option(
    "--score",
    type=click.Choice(list(SCORES)),
    help=say(
        "Also ask each model the validation file's questions, and rank by the score: exact calls, exact texts, chrF, "
        "ROUGE-L.",
        "再用验证文件的问题测试每个模型并按得分排名：函数调用完全正确、文本完全一致、chrF、ROUGE-L。",
    ),
)
@click.option(
    "--plot",
    type=Picture(".svg"),
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
    halving: bool,
    score: str | None,
    **choices: list[Any] | None,
) -> None:
    combinations = grid(choices)
    if combinations == [{}]:
        raise click.UsageError(say("Give at least one list of numbers to try.", "请至少给出一组要尝试的数值。"))
    paths = file_to_check(train_file), file_to_check(validation)
    _check_questions(paths[1], score)
    with open_connection(options) as connection:
        client = connection.client
        files = {
            "training_file": uploaded(client, train_file, paths[0]) or train_file,
            "validation_file": uploaded(client, validation, paths[1]) or validation,
        }
        trials = Trials(client, combinations, partial(_create, client, files, model, seed, halving))
        with leaving_all(connection, options, trials):
            trials.halved() if halving else trials.all()
            found = [_result(client, trial) for trial in trials]
            _add_scores(client, found, paths[1], score)
    found = ranked(found)
    print_json(found) if options.json else show(found, SCORES[score][1] if score else None)
    if plot:
        plot.write_text(svg(found), encoding="utf-8")
        note(str(plot))
    raise click.exceptions.Exit(0 if found[0]["status"] == "succeeded" else 1)
