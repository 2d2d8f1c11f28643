"""`luthier migrate report`: compares old models with their successors on the recorded questions."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.client import open_connection
from luthier.cli.errors import CliError
from luthier.cli.migrate_account import account_progress
from luthier.cli.migrate_text import plain, print_wrapped
from luthier.cli.options import GeneratedFile, NamePair, Options, option, pass_options, server_options
from luthier.cli.output import note, print_json, print_table, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    import openai

    from luthier.migrate.pair_report import PairReport
    from luthier.migrate.recorded import RecordedModel


@click.command(
    "report",
    short_help=say("Compare old models with their successors.", "比较旧模型和后继。"),
    help=say(
        "Compare each old model with its successor on the recorded questions: exact calls, labels and texts with "
        "paired intervals, tokens, latency and cost. The old answers come from the recording, so this works after the "
        "old model is gone. Successors are those of `luthier migrate retrain`; --new sets others.\n\n"
        "Example: luthier migrate report recording --html report.html\n\n"
        "Example: luthier migrate report recording --new ft:OLD=ft:NEW",
        "用录制的问题比较每个旧模型和它的后继：函数调用、标签和文本是否正确（含配对区间），以及 token、延迟和费用。"
        "旧回答取自录制，所以旧模型关闭后也能比较。后继是 `luthier migrate retrain` 训练的模型；"
        "--new 可指定其他模型。\n\n"
        "例子：luthier migrate report recording --html report.html\n\n"
        "例子：luthier migrate report recording --new ft:OLD=ft:NEW",
    ),
)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@option(
    "--new",
    "Compare OLD with the model NEW; repeatable.",
    "把 OLD 与模型 NEW 比较；可重复。",
    name="pairs",
    multiple=True,
    type=NamePair("OLD=NEW"),
)
@option("--limit", "Use N questions per model, evenly spaced.", "每个模型等距取 N 个问题。", type=click.IntRange(min=1))
@option(
    "--max-tokens",
    "Token limit of each answer. Default: the limit of the recording.",
    "每个回答的 token 上限；默认与录制时相同。",
    type=click.IntRange(min=1),
)
@option(
    "--judge",
    "Let this model compare the texts of both models, in both orders; it may be an alias for the upstream service.",
    "让该模型按两种次序比较双方的文本回答；可以是指向上游服务的别名。",
    metavar="MODEL",
)
@option("--concurrency", "Concurrent requests.", "并发请求数。", default=8, type=click.IntRange(1, 64))
@option(
    "--html",
    "Also write the report as an HTML page.",
    "同时写成 HTML 页面。",
    type=GeneratedFile(".html"),
    metavar="FILE",
)
@server_options
@pass_options
def report(
    options: Options,
    folder: Path,
    pairs: tuple[tuple[str, str], ...],
    limit: int | None,
    max_tokens: int | None,
    judge: str | None,
    concurrency: int,
    html: Path | None,
) -> None:
    from luthier.evaluation.service import OpenAIService
    from luthier.migrate.pair_page import render_html
    from luthier.migrate.pair_report import compare, question_count
    from luthier.migrate.recorded import recorded_models

    named = dict(pairs)
    models = recorded_models(folder, named)
    with open_connection(options) as connection:
        successors = _successors(connection.client, models, named)
        models = [model for model in models if model.name in successors]
        complete = OpenAIService(connection.client).complete
        sampling: dict[str, Any] = {
            "limit": limit,
            "max_tokens": max_tokens,
            "concurrency": concurrency,
            "judge": judge,
        }
        with _answers_progress(sum(question_count(model, limit) for model in models)) as advance:
            reports = [
                compare(model, successors[model.name], complete, on_answer=advance, **sampling) for model in models
            ]
    for pair in reports:
        if judge and pair.judged is None:
            note(say(f"{pair.old} answers with calls, which are compared exactly: the judge was not used.",
                     f"{pair.old} 的回答是函数调用，直接按是否相同比较，没有用评审模型。"))  # fmt: skip
    if html:
        html.write_text(render_html(reports), encoding="utf-8")
        note(say(f"Written: {html}", f"已写入：{html}"))
    if options.json:
        print_json({"pairs": [pair.to_dict() for pair in reports]})
        return
    for pair in reports:
        _print(pair)


def _successors(client: openai.OpenAI, models: Sequence[RecordedModel], named: dict[str, str]) -> dict[str, str]:
    """Old model → successor, for models with recorded answers. Raises CliError if there is none."""
    from luthier.migrate.successors import Successors

    trained = Successors(client)
    successors = {}
    for model in models:
        successor = named.get(model.name) or trained.model_of(model.name)
        if successor and (named or any(model.answers)):
            successors[model.name] = successor
        elif successor:
            note(say(f"No answer of {model.name} was recorded: it is skipped.",
                     f"没有录制 {model.name} 的回答：略过。"), "yellow")  # fmt: skip
        else:
            note(say(f"{model.name} has no successor here: it is skipped.",
                     f"{model.name} 在这里没有后继：略过。"), "yellow")  # fmt: skip
    if not successors:
        raise CliError(
            say("There is nothing to compare.", "没有可以比较的模型。"),
            say("Train successors with `luthier migrate retrain FOLDER`, or choose one with --new OLD=NEW.",
                "用 `luthier migrate retrain FOLDER` 训练后继，或用 --new OLD=NEW 指定。"),
        )  # fmt: skip
    return successors


@contextmanager
def _answers_progress(total: int) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each answer, from any thread, which updates the progress bar."""
    lock, done = threading.Lock(), itertools.count(1)
    with account_progress() as show:

        def advance() -> None:
            with lock:
                show("answers", next(done), total)

        yield advance


def _print(pair: PairReport) -> None:
    from luthier.migrate.pair_page import judged_text, metric_rows, mode_name, same_text, usage_rows

    console = stdout_console()
    console.print(plain(f"{pair.old} → {pair.new}", "bold"), soft_wrap=True)
    titles = ("", say("old", "旧"), say("new", "新"), say("difference (95 %)", "差值（95%）"))
    for number, mode in enumerate(pair.modes, start=1):
        if name := mode_name(pair, mode):
            console.print(name)
        rows = metric_rows(pair, mode) + (usage_rows(pair) if number == len(pair.modes) else [])
        print_table(titles, rows)
    print_wrapped(same_text(pair))
    if pair.judged:
        print_wrapped(judged_text(pair))
    for line in pair.notes():
        print_wrapped(f"- {line}")
    console.print()
