"""`luthier evaluate`: evaluates models on held-out examples, side by side.

Answers are requested through the API and scored by `luthier.evaluation`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from luthier.cli.client import open_connection
from luthier.cli.errors import CliError
from luthier.cli.options import GeneratedFile, Options, option, pass_options, server_options_with_file
from luthier.cli.output import ProgressLines, note, print_json, stderr_console
from luthier.cli.report_card import print_report_card
from luthier.language import say

if TYPE_CHECKING:
    import openai

    from luthier.data.examples.tool_definitions import DefinitionDetail
    from luthier.evaluation.report import Report
    from luthier.evaluation.run import EvaluationPlan, EvaluationSet

_DEFINITIONS = ("full", "slim", "none")


@click.command(
    help=say(
        "Evaluate a model on held-out examples, side by side with others. The last assistant message of an example is "
        "the reference answer; the messages before it are the prompt, sampled at temperature 0.\n\n"
        "With --functions the answers are tool calls: decision, name, arguments and schema are scored, with full, slim "
        "or no tool definitions in the request. Without it the answers are text.\n\n"
        "Example: luthier evaluate ft:MODEL valid.jsonl --functions --against gpt-3.5-turbo --out report.html",
        "用留出的样本评估模型，可与其他模型并排比较。每个样本最后一条 assistant 消息是参考答案，"
        "之前的消息是提示，以 temperature 0 采样。\n\n"
        "加 --functions 时评估函数调用：是否调用、函数名、参数、是否符合定义；"
        "请求中的函数定义可以完整、精简或省略。不加时评估文本回答。\n\n"
        "例子：luthier evaluate ft:MODEL valid.jsonl --functions --against gpt-3.5-turbo --out report.html",
    )
)
@click.argument("model")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@option("--functions", "Score tool calls.", "评估函数调用。", is_flag=True)
@option("--against", "Model to compare with; repeatable.", "对照模型，可重复。", multiple=True, metavar="MODEL")
@option(
    "--definitions",
    "Tool definitions in requests; repeatable. Default: full and none.",
    "请求中的函数定义，可重复；默认 full 和 none。",
    multiple=True,
    type=click.Choice(_DEFINITIONS),
)
@option(
    "--functions-file",
    "Tool definitions for examples without any: a JSON list of tools or functions.",
    "为没有定义的样本提供函数定义：tools 或 functions 的 JSON 列表。",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@option("--limit", "Use only the first N examples.", "只用前 N 个样本。", type=click.IntRange(min=1))
@option("--max-tokens", "Token limit of an answer.", "回答的 token 上限。", type=click.IntRange(min=1))
@option("--concurrency", "Concurrent requests.", "并发请求数。", default=8, type=click.IntRange(1, 64))
@option(
    "--price-in",
    "Price of 1M prompt tokens, to compute savings.",
    "每百万提示 token 的价格，用来计算节省。",
    type=click.FloatRange(min=0),
    metavar="USD",
)
@option(
    "--out",
    "Write the report as a single HTML page.",
    "把报告写成一个 HTML 页面。",
    type=GeneratedFile(".html"),
    metavar="FILE.html",
)
@server_options_with_file
@pass_options
def evaluate(
    options: Options,
    model: str,
    file: Path | None,
    functions: bool,
    against: tuple[str, ...],
    definitions: tuple[DefinitionDetail, ...],
    functions_file: Path | None,
    limit: int | None,
    max_tokens: int | None,
    concurrency: int,
    price_in: float | None,
    out: Path | None,
) -> None:
    if options.data and options.data.is_file():
        file, options.data = file or options.data, None
        options.on_command_line.discard("data")
    if file is None:
        raise click.UsageError(say("Pass the FILE of held-out examples.", "请给出留出样本的文件 FILE。"))
    if not functions:
        _reject_call_flags({"--definitions": definitions, "--functions-file": functions_file, "--price-in": price_in})
    baselines = [baseline for baseline in dict.fromkeys(against) if baseline != model]
    plan = _plan([model, *baselines], functions, definitions, max_tokens, concurrency)
    evaluation_set = _load(file, plan, functions_file, limit)
    with open_connection(options) as connection:
        report = _run(connection.client, plan, evaluation_set, price_in)
    if options.json:
        print_json(report.to_dict())
    else:
        print_report_card(report)
    if out:
        from luthier.evaluation.html_report import render_html

        out.write_text(render_html(report), encoding="utf-8")
        note(say(f"Wrote the report to {out}.", f"报告已写入 {out}。"))


def _reject_call_flags(flags: dict[str, object]) -> None:
    """Raises UsageError for flags that have no effect without --functions."""
    for flag, value in flags.items():
        if value not in (None, ()):
            raise click.UsageError(
                say(
                    f"{flag} has no effect on text answers: add --functions to score tool calls.",
                    f"{flag} 对文本回答不起作用：加上 --functions 才评估函数调用。",
                )
            )


def _plan(
    models: Sequence[str],
    functions: bool,
    definitions: Sequence[DefinitionDetail],
    max_tokens: int | None,
    concurrency: int,
) -> EvaluationPlan:
    from luthier.evaluation.run import EvaluationPlan

    return EvaluationPlan(models, functions, definitions, max_tokens, concurrency)


def _load(path: Path, plan: EvaluationPlan, functions_file: Path | None, limit: int | None) -> EvaluationSet:
    """The held-out examples of a file. Raises CliError if none of them can be scored."""
    from luthier.evaluation.run import load_evaluation_set
    from luthier.types.errors import LuthierError

    try:
        evaluation_set = load_evaluation_set(
            path, plan, tools=_definitions(functions_file) if functions_file else None, limit=limit
        )
    except LuthierError as error:
        remedy = say("Leave out --functions to score text answers.", "去掉 --functions 可评估文本回答。")
        raise CliError(str(error), remedy if plan.functions else "") from error
    if not plan.functions and not any(case.reference for case in evaluation_set.cases):
        raise CliError(
            say(f"No example of {path.name} ends with a text, so there are no texts to score.",
                f"{path.name} 中没有以文本结尾的样本，无法评估文本回答。"),
            say("Add --functions to score tool calls.", "加上 --functions 可评估函数调用。"),
        )  # fmt: skip
    return evaluation_set


def _definitions(path: Path) -> list[dict[str, Any]] | None:
    from luthier.data.examples.messages import normalize_tools

    try:
        return normalize_tools(json.loads(path.read_text(encoding="utf-8")), None)
    except (ValueError, AttributeError, TypeError) as error:
        raise CliError(
            say(f"{path} is not a list of tool definitions: {error}", f"{path} 不是函数定义列表：{error}")
        ) from error


def _run(client: openai.OpenAI, plan: EvaluationPlan, evaluation_set: EvaluationSet, price_in: float | None) -> Report:
    from luthier.evaluation.run import run_evaluation
    from luthier.evaluation.service import OpenAIService

    with _progress_bar(plan.total_steps(evaluation_set)) as on_step:
        service = OpenAIService(client)
        report = replace(run_evaluation(service, plan, evaluation_set, on_step), price_in=price_in)
    stored = service.store_report(plan.models[0], report.to_dict())
    if stored:
        note(say(f"Stored with the model as {stored['id']}.", f"已随模型保存为 {stored['id']}。"))
    return report


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[], None]]:
    """Yields a callback that advances a progress bar, or that prints a line every ten seconds off terminals."""
    console, text = stderr_console(), say("evaluating", "评估")
    if not console.is_terminal:
        lines = ProgressLines(text, total)
        yield lines.advance
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(SpinnerColumn(), *columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)
