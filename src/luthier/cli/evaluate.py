"""`luthier evaluate`: held-out examples put to models side by side, and a report card of what came back.

The questions go through the API like any client's; the scoring is `luthier.evaluation`'s. This file shows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from luthier.cli.client import open_connection
from luthier.cli.errors import Trouble
from luthier.cli.options import Options, Picture, pass_options, server_options_beside_data
from luthier.cli.output import note, notices, print_json
from luthier.cli.report_card import show_report
from luthier.language import say

if TYPE_CHECKING:
    import openai

    from luthier.data.examples.tool_definitions import Shown
    from luthier.evaluation.report import Report
    from luthier.evaluation.run import EvaluationPlan, EvaluationSet

_SHOWN = ("full", "slim", "none")


@click.command(
    help=say(
        "Measure a model on held-out examples, beside others. Each example's last assistant message is what a right "
        "answer is; everything before it is the question, asked at temperature 0.\n\n"
        "With --functions the answers are calls: decision, name, arguments and schema are scored, with the "
        "definitions sent in full, slim, or not at all. Without it they are texts.\n\n"
        "Example: luthier evaluate ft:MODEL valid.jsonl --functions --against gpt-3.5-turbo --out report.html",
        "用留出的样本测试模型，可与其他模型并排比较。每个样本最后一条 assistant 消息是正确答案，"
        "之前的内容是问题，以 temperature 0 提问。\n\n"
        "加 --functions 时评的是函数调用：是否调用、函数名、参数、是否符合定义；"
        "函数定义可以完整发送、精简发送或不发送。"
        "不加时评的是文本回答。\n\n"
        "例子：luthier evaluate ft:MODEL valid.jsonl --functions --against gpt-3.5-turbo --out report.html",
    )
)
@click.argument("model")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--functions", is_flag=True, help=say("Score function calls.", "评估函数调用。"))
@click.option(
    "--against", multiple=True, metavar="MODEL", help=say("A model to compare with; repeatable.", "对照模型，可重复。")
)
@click.option(
    "--definitions",
    "shown",
    multiple=True,
    type=click.Choice(_SHOWN),
    help=say(
        "How definitions are sent; repeatable. Default: full and none.", "函数定义怎样发送，可重复；默认 full 和 none。"
    ),
)
@click.option(
    "--functions-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=say(
        "Definitions for examples that carry none: a JSON list of tools or functions.",
        "为没有定义的样本提供函数定义：tools 或 functions 的 JSON 列表。",
    ),
)
@click.option("--limit", type=click.IntRange(min=1), help=say("Ask only the first N examples.", "只测前 N 个样本。"))
@click.option("--max-tokens", type=click.IntRange(min=1), help=say("Longest answer, in tokens.", "回答的最大词元数。"))
@click.option(
    "--concurrency",
    default=8,
    show_default=True,
    type=click.IntRange(1, 64),
    help=say("Questions at a time.", "并发数。"),
)
@click.option(
    "--price-in",
    type=click.FloatRange(min=0),
    metavar="USD",
    help=say("Price of a million prompt tokens, for the saving.", "每百万提示词元的价格，用来计算节省。"),
)
@click.option(
    "--out",
    type=Picture(".html"),
    metavar="FILE.html",
    help=say("Write the report as one HTML page.", "把报告写成一个 HTML 页面。"),
)
@server_options_beside_data
@pass_options
def evaluate(
    options: Options,
    model: str,
    file: Path | None,
    functions: bool,
    against: tuple[str, ...],
    shown: tuple[Shown, ...],
    functions_file: Path | None,
    limit: int | None,
    max_tokens: int | None,
    concurrency: int,
    price_in: float | None,
    out: Path | None,
) -> None:
    if options.data and options.data.is_file():
        file, options.data = file or options.data, None
        options.typed.discard("data")
    if file is None:
        raise click.UsageError(say("Name the FILE with held-out examples.", "请给出留出样本的文件 FILE。"))
    others = [other for other in dict.fromkeys(against) if other != model]
    plan = _plan([model, *others], functions, shown, max_tokens, concurrency)
    questions = _questions(file, plan, functions_file, limit)
    with open_connection(options) as connection:
        report = _evaluated(connection.client, plan, questions, price_in)
    if options.json:
        print_json(report.to_dict())
    else:
        show_report(report)
    if out:
        from luthier.evaluation.html_report import render_html

        out.write_text(render_html(report), encoding="utf-8")
        note(say(f"The report is in {out}.", f"报告已写入 {out}。"))


def _plan(
    models: Sequence[str], functions: bool, shown: Sequence[Shown], max_tokens: int | None, concurrency: int
) -> EvaluationPlan:
    from luthier.evaluation.run import EvaluationPlan

    return EvaluationPlan(models, functions, shown, max_tokens, concurrency)


def _questions(path: Path, plan: EvaluationPlan, functions_file: Path | None, limit: int | None) -> EvaluationSet:
    from luthier.evaluation.run import load_evaluation_set
    from luthier.types.errors import LuthierError

    try:
        return load_evaluation_set(
            path, plan, tools=_definitions(functions_file) if functions_file else None, limit=limit
        )
    except LuthierError as error:
        remedy = say("Leave --functions out to score texts.", "去掉 --functions 可评估文本回答。")
        raise Trouble(str(error), remedy if plan.functions else "") from error


def _definitions(path: Path) -> list[dict[str, Any]] | None:
    from luthier.data.examples.messages import definitions

    try:
        return definitions(json.loads(path.read_text(encoding="utf-8")), None)
    except (ValueError, AttributeError, TypeError) as error:
        raise Trouble(say(f"{path} is no list of definitions: {error}", f"{path} 不是函数定义列表：{error}")) from error


def _evaluated(
    client: openai.OpenAI, plan: EvaluationPlan, evaluation_set: EvaluationSet, price_in: float | None
) -> Report:
    from luthier.evaluation.run import run_evaluation
    from luthier.evaluation.service import OpenAIService

    with _bar(plan.total_steps(evaluation_set)) as on_step:
        service = OpenAIService(client)
        report = replace(run_evaluation(service, plan, evaluation_set, on_step), price_in=price_in)
    kept = service.store_report(plan.models[0], report.to_dict())
    if kept:
        note(say(f"Stored with the model as {kept['id']}.", f"已随模型保存为 {kept['id']}。"))
    return report


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    """A function to be told of each step; it moves a bar where stderr is a terminal."""
    console = notices()
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(say("evaluating", "评估"), total=total)
        yield lambda: progress.advance(task)
