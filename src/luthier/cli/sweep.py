"""`luthier sweep`: trains with several sets of hyperparameters and ranks them by validation loss or task score.

Each combination is an ordinary job, created through `client.fine_tuning.jobs`, so a sweep runs on any compatible
service. LoRA rank and the evaluation steps of `--halving` are passed in the job's metadata, which only Luthier reads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import open_connection
from luthier.cli.errors import CliError
from luthier.cli.options import GeneratedFile, Options, pass_options, server_options
from luthier.cli.output import note, print_json
from luthier.cli.sweep_jobs import ROUNDS, Trial, Trials, detaching_all
from luthier.cli.sweep_report import print_ranking, ranked, svg_plot
from luthier.cli.tune import check_request, local_file, method_fields, method_for, upload_if_local
from luthier.language import say
from luthier.types.job_options import RANK, SWEEP, VALIDATE_AT

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob

# Score → whether it scores tool calls, and its metric (docs/evaluation.md).
SCORES = {
    "calls": (True, "call_exact"),
    "exact": (False, "exact_match"),
    "chrf": (False, "chrf"),
    "rouge": (False, "rouge_l"),
}


def comma_separated(number: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Option type: positive numbers separated by commas."""

    def convert(text: str) -> list[Any]:
        try:
            numbers = [number(part) for part in text.split(",")]
        except ValueError:
            numbers = [0]
        if not all(value > 0 for value in numbers):
            message = say(
                f"{text} is not a list of positive numbers, such as 0.3,1,3.", f"{text} 不是正数列表，例如 0.3,1,3。"
            )
            raise click.BadParameter(message)
        return list(dict.fromkeys(numbers))

    return convert


def grid(choices: dict[str, list[Any] | None]) -> list[dict[str, Any]]:
    """Every combination of the choices; parameters without choices are left out."""
    lists = {name: values for name, values in choices.items() if values}
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _create(
    client: openai.OpenAI, fields: dict[str, Any], method: str, halving: bool, parameters: dict[str, Any]
) -> FineTuningJob:
    """Creates the job of a combination; `fields` are the request fields that all combinations share."""
    hyperparameters = {name: value for name, value in parameters.items() if name != "rank"}
    metadata = {SWEEP: "halving", VALIDATE_AT: ",".join(map(str, ROUNDS))} if halving else {SWEEP: "grid"}
    if "rank" in parameters:
        metadata[RANK] = str(parameters["rank"])
    return client.fine_tuning.jobs.create(**fields, metadata=metadata, **method_fields(method, hyperparameters))


def _result(client: openai.OpenAI, trial: Trial) -> dict[str, Any]:
    assert trial.job is not None  # noqa: S101 - every trial has a job by now
    return {
        "job": trial.job.id,
        "status": trial.job.status,
        "fine_tuned_model": trial.job.fine_tuned_model,
        "hyperparameters": trial.parameters,
        "valid_loss": _valid_loss(client, trial),
        "curve": trial.curve,
    }


def _valid_loss(client: openai.OpenAI, trial: Trial) -> float | None:
    """The validation loss of the fine-tuned model; for a job that was stopped early, the last one that was measured."""
    job = trial.job
    if job is None or job.status == "failed" or not trial.curve:
        return None
    if job.status != "succeeded":
        return trial.curve[-1][1]
    final_losses = (
        checkpoint.metrics.full_valid_loss
        for checkpoint in client.fine_tuning.jobs.checkpoints.list(job.id)
        if checkpoint.fine_tuned_model_checkpoint == job.fine_tuned_model
    )
    return next((loss for loss in final_losses if loss is not None), None) or min(loss for _, loss in trial.curve)


def _check_score(path: Path | None, score: str | None) -> None:
    """Checks, before any training, that the models can be scored. Raises UsageError, CliError."""
    from luthier.evaluation.run import EvaluationPlan, load_evaluation_set
    from luthier.types.errors import LuthierError

    if score is None:
        return
    if path is None:
        raise click.UsageError(say("--score needs a local validation file.", "--score 需要本地的验证文件。"))
    try:
        load_evaluation_set(path, EvaluationPlan([""], functions=SCORES[score][0]))
    except LuthierError as error:
        raise CliError(str(error), say("Choose another --score.", "请换一种 --score。")) from error


def _add_scores(client: openai.OpenAI, results: list[dict[str, Any]], path: Path | None, score: str | None) -> None:
    """Adds to each successful result the score of its model on the validation file, measured through the API."""
    from luthier.evaluation import evaluate

    if score is None or path is None:
        return
    functions, metric = SCORES[score]
    for result in results:
        if result["status"] == "succeeded":
            model = result["fine_tuned_model"]
            note(say(f"Scoring {model}", f"评分：{model}"))
            run = evaluate(client, model, path, functions=functions, definitions=("full",)).runs[0]
            result["score"] = run.metrics[metric].value


@click.command(
    help=say(
        "Train on TRAIN_FILE with every combination of hyperparameters, one job after the other, and rank them by "
        "validation loss or by a score. Exit code 1 if no job succeeds. Ctrl-C lists the running and paused jobs.\n\n"
        "Example: luthier sweep train.jsonl --validation valid.jsonl --learning-rate-multiplier 0.3,1,3 --epochs 2,4 "
        "--halving --score exact",
        "用各组超参数依次在 TRAIN_FILE 上训练，并按验证损失或得分排名。没有任务成功时退出码为 1。"
        "Ctrl-C 会列出运行中和已暂停的任务。\n\n"
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
    type=comma_separated(float),
    metavar="X,X",
    help=say("Learning rate multipliers.", "学习率倍数。"),
)
@click.option("--epochs", "n_epochs", type=comma_separated(int), metavar="N,N", help=say("Epochs.", "训练轮数。"))
@click.option(
    "--batch-size", type=comma_separated(int), metavar="N,N", help=say("Examples per step.", "每步的样本数。")
)
@click.option(
    "--rank",
    type=comma_separated(int),
    metavar="N,N",
    help=say("LoRA ranks; Luthier only.", "LoRA 秩；仅限 Luthier。"),
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help=say("Random seed of all jobs.", "所有任务共用的随机种子。")
)
@click.option(
    "--halving",
    is_flag=True,
    help=say(
        "Successive halving: all combinations train for a quarter of their steps, the better half of them for half of "
        "the steps, and the better half of those to the end. Jobs are paused and resumed, so no step is repeated. "
        "Luthier only.",
        "逐次减半：所有组合先训练四分之一的步数，较好的一半训练到一半，其中较好的一半训练到结束。"
        "任务会暂停和恢复，不会重复训练。仅限 Luthier。",
    ),
)
@click.option(
    "--score",
    type=click.Choice(list(SCORES)),
    help=say(
        "Also score each model on the validation file, and rank by the score: calls (exact tool calls), exact (exact "
        "text), chrF, ROUGE-L.",
        "再用验证文件给每个模型打分并按得分排名：calls（函数调用完全正确）、exact（文本完全一致）、chrF、ROUGE-L。",
    ),
)
@click.option(
    "--plot",
    type=GeneratedFile(".svg"),
    metavar="FILE.svg",
    help=say("Write the validation loss curves as an SVG file.", "把验证损失曲线写成 SVG 文件。"),
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
        raise click.UsageError(say("Pass at least one list of hyperparameter values.", "请至少给出一组超参数取值。"))
    paths = local_file(train_file), local_file(validation)
    _check_score(paths[1], score)
    method = method_for(paths[0])
    with open_connection(options) as connection:
        client = connection.client
        check_request(client, {"model": model}, [(train_file, paths[0]), (validation, paths[1])])
        fields = {
            "model": model,
            "seed": seed,
            "training_file": upload_if_local(client, train_file, paths[0]) or train_file,
            "validation_file": upload_if_local(client, validation, paths[1]) or validation,
        }
        trials = Trials(client, combinations, partial(_create, client, fields, method, halving))
        with detaching_all(connection, options, trials):
            trials.run_halving() if halving else trials.run_all()
            results = [_result(client, trial) for trial in trials]
            _add_scores(client, results, paths[1], score)
    results = ranked(results)
    print_json(results) if options.json else print_ranking(results, SCORES[score][1] if score else None)
    if plot:
        plot.write_text(svg_plot(results), encoding="utf-8")
        note(str(plot))
    raise click.exceptions.Exit(0 if results[0]["status"] == "succeeded" else 1)
