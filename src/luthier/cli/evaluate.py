"""`luthier evaluate`: held-out examples put to models side by side, and a report card of what came back.

The questions go through the API like any client's; the scoring is `luthier.evaluation`'s. This file shows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from luthier.cli.connect import open_connection
from luthier.cli.options import Options, pass_options, server_options_beside_data
from luthier.cli.output import as_json, note, notices, print_json, print_table, results
from luthier.cli.trouble import Trouble
from luthier.language import say

if TYPE_CHECKING:
    import openai

    from luthier.data.definitions import Shown
    from luthier.evaluation.ask import Ask
    from luthier.evaluation.card import Run
    from luthier.evaluation.cases import Case
    from luthier.evaluation.report import Report

_SHOWN = ("full", "slim", "none")
_COLUMNS = {
    "functions": ("call_exact", "call_match", "decision_accuracy", "name_accuracy", "arguments_exact", "schema_valid"),
    "text": ("exact_match", "macro_f1", "chrf", "rouge_l", "preamble_rate", "truncation_rate", "repetition_rate"),
}


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
    default=4,
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
    type=click.Path(dir_okay=False, path_type=Path),
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
    asked = _cases(file, functions_file, functions)[:limit]
    modes: tuple[Shown, ...] = (shown or ("full", "none")) if functions else ("full",)
    with open_connection(options) as connection:
        models = [model, *(other for other in dict.fromkeys(against) if other != model)]
        with _bar(len(asked) * len(models) * len(modes)) as on_answer:
            runs = _runs(_ask(connection.client), models, modes, asked, functions, max_tokens, concurrency, on_answer)
        losses = _losses(connection.client, model)
    from luthier.evaluation.report import report

    made = report("functions" if functions else "text", file.name, len(asked), runs, losses)
    if out:
        from luthier.evaluation.page import page

        out.write_text(page(made), encoding="utf-8")
    if options.json:
        print_json(made.to_dict())
    else:
        _show(made, price_in, out)


def _cases(path: Path, functions_file: Path | None, functions: bool) -> list[Case]:
    from luthier.data.examples import read_examples
    from luthier.data.messages import definitions
    from luthier.evaluation.cases import cases

    given = None
    if functions_file:
        try:
            listed = json.loads(functions_file.read_text(encoding="utf-8"))
            given = definitions(listed, None)
        except (ValueError, AttributeError, TypeError) as error:
            raise Trouble(
                say(
                    f"{functions_file} is no list of definitions: {error}",
                    f"{functions_file} 不是函数定义列表：{error}",
                )
            ) from error
    made = list(cases(read_examples(path), given))
    if functions and not any(case.wanted for case in made):
        raise Trouble(
            say(f"No example of {path} ends with a call.", f"{path} 中没有以函数调用结尾的样本。"),
            say("Leave --functions out to score texts.", "去掉 --functions 可评估文本回答。"),
        )
    return made


def _ask(client: openai.OpenAI) -> Ask:
    def ask(body: dict[str, Any]) -> dict[str, Any]:
        return as_json(client.chat.completions.create(**body))

    return ask


def _runs(
    ask: Ask,
    models: Sequence[str],
    modes: Sequence[Shown],
    asked: list[Case],
    functions: bool,
    max_tokens: int | None,
    concurrency: int,
    on_answer: Callable[[], None],
) -> list[Run]:
    from luthier.evaluation import card, texts
    from luthier.evaluation.ask import ask_all
    from luthier.evaluation.cases import known_definitions

    definitions = known_definitions(asked)
    made = []
    for name in models:
        for shown in modes:
            answers = ask_all(
                ask, name, asked, shown, max_tokens=max_tokens, concurrency=concurrency, on_answer=on_answer
            )
            if functions:
                made.append(card.card(name, shown, asked, answers, definitions))
            else:
                made.append(texts.card(name, asked, answers))
    return made


def _losses(client: openai.OpenAI, model: str) -> list[tuple[float, float]]:
    """(epoch, full validation loss) of the job that made the model; empty where there is none to be found."""
    import openai

    if not model.startswith("ft:"):
        return []
    try:
        job = next((job for job in client.fine_tuning.jobs.list() if job.fine_tuned_model == model), None)
        points = list(client.fine_tuning.jobs.checkpoints.list(job.id)) if job else []
    except openai.OpenAIError:
        return []  # another service may not have jobs at all; the figures stand without them
    epochs = getattr(job.hyperparameters, "n_epochs", None) if job and job.hyperparameters else None
    last = max((point.step_number for point in points), default=0)
    if not isinstance(epochs, int) or not last:
        return []
    known = [(point.step_number, point.metrics.full_valid_loss) for point in points]
    return sorted((round(step * epochs / last, 2), loss) for step, loss in known if loss is not None)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    """A function to be told of each answer; it moves a bar where stderr is a terminal."""
    console = notices()
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(say("asking", "提问"), total=total)
        yield lambda: progress.advance(task)


def _show(report: Report, price_in: float | None, out: Path | None) -> None:
    from luthier.evaluation.page import figure_name
    from luthier.evaluation.report import saved_tokens

    names = [name for name in _COLUMNS[report.kind] if any(name in run.figures for run in report.runs)]
    functions = report.kind == "functions"
    head = [say("model", "模型"), *([say("definitions", "函数定义")] if functions else [])]
    columns = [*head, *map(figure_name, names), say("prompt tokens", "提示词元"), say("seconds", "秒")]
    print_table(columns, [_row(run, names, functions) for run in report.runs])
    results().print(
        say(
            f"\n% [95 % interval], n = {report.examples} examples of {report.file}",
            f"\n% [95% 区间]，n = {report.examples}，样本来自 {report.file}",
        )
    )
    saved = saved_tokens(report.runs, report.runs[0].model) if functions else None
    if saved:
        results().print(_saving(*saved, price_in))
    for line in report.advice():
        results().print(f"• {line}", soft_wrap=True)
    if out:
        note(say(f"The report is in {out}.", f"报告已写入 {out}。"))


def _row(run: Run, names: Sequence[str], functions: bool) -> list[str]:
    cells = [run.model, *([run.shown] if functions else [])]
    for name in names:
        figure = run.figures.get(name)
        if figure is None:
            cells.append("–")
        else:
            cells.append(f"{100 * figure.value:.0f} [{100 * figure.low:.0f}–{100 * figure.high:.0f}]")
    return [*cells, f"{run.efficiency['prompt_tokens_mean']:.0f}", f"{run.efficiency['latency_s_p50']:.2f}"]


def _saving(full: float, none: float, price_in: float | None) -> str:
    share = f"{100 * (1 - none / full):.0f}"
    text = say(
        f"Without definitions a question costs {none:.0f} prompt tokens instead of {full:.0f}: {share} % less",
        f"不发送函数定义时，每个问题的提示词元从 {full:.0f} 降到 {none:.0f}：节省 {share}%",
    )
    if price_in is None:
        return text + say(".", "。")
    money = f"${(full - none) * price_in:,.2f}"
    return text + say(
        f", {money} per million questions at ${price_in:g}.",
        f"；按每百万词元 ${price_in:g} 计，每百万次提问节省 {money}。",
    )
