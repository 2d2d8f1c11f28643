"""`luthier quickstart`: runs the whole workflow once, on bundled examples, through the API.

Each step prints what it does, and the command or client call for it.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from luthier.cli.check_report import check_files, print_report
from luthier.cli.client import Connection, has_server_address, open_connection, server_flags
from luthier.cli.files import upload_file
from luthier.cli.i18n import printable
from luthier.cli.local import default_base, local_catalogue
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import note, print_json, spinner, stderr_console, to_json
from luthier.cli.tune import create_job, python_example
from luthier.cli.watch import detaching, print_outcome, watch_job
from luthier.language import current, say

if TYPE_CHECKING:
    import openai

_MODEL = "gpt-4o-mini"
_JOB: dict[str, Any] = {"model": _MODEL, "suffix": "quickstart", "seed": 42, "batch_size": 4}
_COMPARISONS = 8  # how many held-out examples both models answer
_MAX_TOKENS = 48


@dataclass(frozen=True)
class Bundle:
    """Bundled examples in one language.

    Attributes:
        file: The name of the bundled file.
        n_epochs: The epochs after which the bundled base has learnt them.
        system, question: The messages of the final request.
    """

    file: str
    n_epochs: int
    system: str
    question: str


# The base model was trained on little Chinese, so the Chinese examples need more epochs.
_BUNDLES = {
    "en": Bundle("smart_home.jsonl", 2, "You run the house. Call a function.", "Dim the hallway to 15 percent"),
    "zh": Bundle("smart_home.zh.jsonl", 3, "你是家里的智能管家，请调用函数。", "把走廊的灯调到15%"),
}


_CHINESE_LIMITS = (
    "请注意：自带的基座模型只有 1.35 亿参数，读过的主要是英文，写不出通顺的中文文章。"
    "它学得会的是这样范围窄、答案可以核对的任务。要写中文，请换更大的基座模型：\n"
    "  luthier models pull modelscope:Qwen/Qwen3-0.6B\n"
    "  luthier serve --base Qwen/Qwen3-0.6B"
)


def _bundle() -> Bundle:
    return _BUNDLES[current()]


@dataclass(frozen=True)
class Comparison:
    """A held-out example with the answers of both models."""

    question: str
    reference: str
    base: str
    fine_tuned: str

    def to_dict(self) -> dict[str, str]:
        """The comparison as --json prints it."""
        return {"asked": self.question, "right": self.reference, "base": self.base, "tuned": self.fine_tuned}


@click.command(
    help=say(
        "The whole workflow once, on bundled short examples: check, split, estimate, upload, train, compare, use. "
        "A small model learns to answer with tool calls; on a laptop it takes a few minutes.\n\n"
        "Example: luthier quickstart",
        "用自带的短样本把整个流程走一遍：检查、拆分、估算、上传、训练、对比、使用。"
        "一个小模型学会用函数调用来回答；笔记本电脑上只需几分钟。\n\n例子：luthier quickstart",
    )
)
@server_options
@pass_options
def quickstart(options: Options) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luthier-quickstart-")))
        train, valid = _prepare(folder)
        if not has_server_address(options):
            _fetch_base_model()
        connection = stack.enter_context(open_connection(options))
        _estimate(options, train)
        _title(
            4, say("Upload, create the job, train", "上传文件，创建微调任务，训练"), "client.fine_tuning.jobs.create"
        )
        client = connection.client
        files = [upload_file(client, path).id for path in (train, valid)]
        job = create_job(
            client,
            files[0],
            files[1],
            {**_JOB, "n_epochs": _bundle().n_epochs, "learning_rate_multiplier": None},
            "supervised",
        )
        with detaching(connection, options, job.id):
            job = watch_job(client, job.id, stderr_console())
            code = print_outcome(job)
            if code == 0 and job.fine_tuned_model:
                comparisons = _compare(client, valid, job.fine_tuned_model)
                _print_comparisons(comparisons)
                _print_usage(options, connection, job.fine_tuned_model)
        if options.json:
            rows = [comparison.to_dict() for comparison in comparisons] if code == 0 else []
            print_json({"job": to_json(job), "compared": rows})
    raise click.exceptions.Exit(code)


def _title(number: int, text: str, call: str = "") -> None:
    stderr_console().print(
        f"\n[bold]{number}. {escape(text)}[/bold]" + (f"  [dim]{call}[/dim]" if call else ""), markup=True
    )


def _prepare(folder: Path) -> tuple[Path, Path]:
    """Checks and splits the bundled examples, and returns the training and the validation file."""
    from luthier.data.split.splitter import Output, split_file

    _title(1, say("Check the examples", "检查样本"), "luthier check FILE")
    with resources.as_file(resources.files("luthier") / "examples" / _bundle().file) as source:
        examples = folder / _bundle().file
        examples.write_bytes(source.read_bytes())
    for path, report in check_files(examples, None, "supervised").items():
        print_report(stderr_console(), Path(path.name), report)
    _title(2, say("Hold out a fifth for validation", "留出五分之一用于验证"), "luthier split FILE")
    train, valid = folder / "train.jsonl", folder / "valid.jsonl"
    output = Output("validation", valid, 0.2)
    train_count, valid_count = split_file(examples, train, [output], seed=42, overwrite=True).counts
    note(
        say(
            f"{train_count} examples for training, {valid_count} held out for validation.",
            f"{train_count} 条用于训练，{valid_count} 条留作验证。",
        )
    )
    return train, valid


def _fetch_base_model() -> None:
    """Downloads the default base model, unless it is on this machine."""
    base = default_base()
    if not local_catalogue().ready(base):
        note("\n" + say("The base model has not been downloaded yet:", "本机还没有基座模型："))
        with spinner("…"):
            local_catalogue().folder(base, note, current())


def _estimate(options: Options, train: Path) -> None:
    """Prints tokens and cost, counted with the base model's tokenizer if it is on this machine."""
    from luthier.data.cost_estimate import estimate
    from luthier.data.examples.example import read_examples
    from luthier.data.rendering.renderer import Renderer

    _title(3, say("Estimate", "估算"))
    base, catalogue = default_base(), local_catalogue()
    if has_server_address(options) and not catalogue.ready(base):
        note(
            say(
                "The base model has not been downloaded, so tokens are not counted.",
                "基座模型不在本机，无法统计 token。",
            )
        )
        return
    renderer = Renderer(catalogue.folder(base))
    tokens = [len(renderer.example(example).ids) for example in read_examples(train)]
    forecast = estimate(tokens, n_epochs=_bundle().n_epochs, model=_MODEL)
    note(
        say(
            f"{forecast.tokens:,} tokens × {forecast.epochs} epochs = {forecast.trained_tokens:,} trained tokens.\n"
            f"OpenAI charged ${forecast.hosted_price_usd:.2f} for that on {_MODEL}; here it costs only time: one or "
            "two minutes on an idle machine with AMX, more on others.",
            f"{forecast.tokens:,} 个 token × {forecast.epochs} 轮 = 训练 {forecast.trained_tokens:,} 个 token。\n"
            f"在 OpenAI 用 {_MODEL} 训练要收 ${forecast.hosted_price_usd:.2f}；"
            "在本机只花时间：空闲的 AMX 机器上一两分钟，其他机器更久。",
        )
    )


def _compare(client: openai.OpenAI, valid: Path, fine_tuned: str) -> list[Comparison]:
    """Requests both models' greedy answers to held-out examples, without tool definitions."""
    _title(5, say("Compare on held-out examples", "在留出的样本上对比"), "client.chat.completions.create")
    lines = valid.read_text(encoding="utf-8").splitlines()[:_COMPARISONS]
    comparisons = []
    with Progress(console=stderr_console(), transient=True) as progress:
        task = progress.add_task(say("querying both models", "正在询问两个模型"), total=2 * len(lines))
        for line in lines:
            messages = json.loads(line)["messages"]
            answers = []
            for model in (_MODEL, fine_tuned):
                answers.append(_answer(client, model, messages[:-1]))
                progress.advance(task)
            comparisons.append(Comparison(messages[-2]["content"], _text(messages[-1]), *answers))
    return comparisons


def _answer(client: openai.OpenAI, model: str, messages: list[Any]) -> str:
    answer = client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=_MAX_TOKENS, seed=0
    )
    return _text(answer.choices[0].message.to_dict())


def _text(message: dict[str, Any]) -> str:
    """A message on one line: its tool calls as `name(argument=value)`, else its content."""
    calls = [call["function"] for call in message.get("tool_calls") or []]
    if calls:
        return "; ".join(_call(call["name"], call["arguments"]) for call in calls)
    return " ".join((message.get("content") or "").split())


def _call(name: str, arguments: str) -> str:
    """A call as `name(argument=value)`. Arguments that are not a JSON object, as after truncation, stay as they are."""
    try:
        members = json.loads(arguments).items()
    except (ValueError, AttributeError):
        return f"{name}({' '.join(arguments.split())}"
    return f"{name}({', '.join(f'{key}={json.dumps(value, ensure_ascii=False)}' for key, value in members)})"


def _print_comparisons(comparisons: list[Comparison]) -> None:
    total = len(comparisons)
    base_correct = sum(row.base == row.reference for row in comparisons)
    correct = sum(row.fine_tuned == row.reference for row in comparisons)
    table = Table(expand=False, show_lines=True)
    titles = (
        say("Question", "问题"),
        say(f"Base model: {base_correct}/{total} correct", f"基座模型：正确 {base_correct}/{total}"),
        say(f"Fine-tuned model: {correct}/{total} correct", f"微调模型：正确 {correct}/{total}"),
    )
    for title in titles:
        table.add_column(title, ratio=1, overflow="fold")
    for row in comparisons:
        colour = "green" if row.fine_tuned == row.reference else "red"
        base = row.base if len(row.base) <= 120 else row.base[:117] + "…"
        answer = f"[{colour}]{escape(row.fine_tuned)}[/{colour}]"
        table.add_row(escape(row.question), f"[dim]{escape(printable(base))}[/dim]", printable(answer))
    stderr_console().print(table, markup=True)
    if correct > base_correct:
        note(
            say(
                "The requests contained no tool definitions: the fine-tuned model has learnt its functions.",
                "请求中没有函数定义：微调模型已经学会了这些函数。",
            )
        )
    if current() == "zh":
        note(_CHINESE_LIMITS)


def _print_usage(options: Options, connection: Connection, model: str) -> None:
    _title(6, say("Use it", "使用"), f"luthier serve{server_flags(options)}" if connection.embedded else "")
    messages = [
        {"role": "system", "content": _bundle().system},
        {"role": "user", "content": _bundle().question},
    ]
    if not options.json:
        click.echo(python_example(connection, model, messages))
