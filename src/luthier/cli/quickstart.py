"""`luthier quickstart`: the whole loop once, on examples that come along, through the API that any client speaks.

Each step is one that a person takes with their own file; each says what it does and which call does it.
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
from luthier.cli.client import Connection, names_a_server, open_connection, same_server
from luthier.cli.files import upload_file
from luthier.cli.i18n import printable
from luthier.cli.local import default_base, local_catalogue
from luthier.cli.options import Options, pass_options, server_options
from luthier.cli.output import as_json, note, notices, print_json, working
from luthier.cli.tune import create_job, python_lines
from luthier.cli.watch import conclude, leaving, watch_job
from luthier.language import current, say

if TYPE_CHECKING:
    import openai

_EXAMPLES = "smart_home.jsonl"
_MODEL = "gpt-4o-mini"
_JOB: dict[str, Any] = {"model": _MODEL, "suffix": "quickstart", "seed": 42, "n_epochs": 2, "batch_size": 4}
_COMPARED = 8  # held-out examples that both models answer
_ANSWER_TOKENS = 48


@dataclass(frozen=True)
class Compared:
    """One held-out example: what was asked, what is right, what the base and the fine-tuned model said."""

    asked: str
    right: str
    base: str
    tuned: str


@click.command(
    help=say(
        "The whole loop once, on 170 short examples that come along: check, split, estimate, upload, train, compare, "
        "use. A small model learns to answer with function calls; on a laptop it takes a few minutes.\n\n"
        "Example: luthier quickstart",
        "用自带的 170 条短样本把整个流程走一遍：检查、拆分、估算、上传、训练、对比、使用。"
        "一个小模型学会用函数调用来回答；笔记本电脑上只需几分钟。\n\n例子：luthier quickstart",
    )
)
@server_options
@pass_options
def quickstart(options: Options) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luthier-quickstart-")))
        train, valid = _prepare(folder)
        if not names_a_server(options):
            _base_model()
        connection = stack.enter_context(open_connection(options))
        _estimate(options, train)
        _title(
            4, say("Upload, create the job, train", "上传文件，创建微调任务，训练"), "client.fine_tuning.jobs.create"
        )
        client = connection.client
        files = [upload_file(client, path).id for path in (train, valid)]
        job = create_job(client, files[0], files[1], {**_JOB, "learning_rate_multiplier": None}, "supervised")
        with leaving(connection, options, job.id):
            job = watch_job(client, job.id, notices())
            code = conclude(job)
            if code == 0 and job.fine_tuned_model:
                compared = _compare(client, valid, job.fine_tuned_model)
                _show(options, connection, job.fine_tuned_model, compared)
        if options.json:
            rows = [vars(row) for row in compared] if code == 0 else []
            print_json({"job": as_json(job), "compared": rows})
    raise click.exceptions.Exit(code)


def _title(number: int, text: str, call: str = "") -> None:
    notices().print(f"\n[bold]{number}. {escape(text)}[/bold]" + (f"  [dim]{call}[/dim]" if call else ""), markup=True)


def _prepare(folder: Path) -> tuple[Path, Path]:
    """Check and split, as for a file of one's own."""
    from luthier.data.split.splitter import Output, split_file

    _title(1, say("Check the examples", "检查样本"), "luthier check FILE")
    with resources.as_file(resources.files("luthier") / "examples" / _EXAMPLES) as source:
        whole = folder / _EXAMPLES
        whole.write_bytes(source.read_bytes())
    for path, report in check_files(whole, None, "supervised").items():
        print_report(notices(), Path(path.name), report)
    _title(2, say("Split them: a fifth is held out", "拆分：留出五分之一用于验证"))
    train, valid = folder / "train.jsonl", folder / "valid.jsonl"
    held = Output("validation", valid, 0.2)
    learnt, held_out = split_file(whole, train, [held], seed=42, overwrite=True).counts
    note(
        say(
            f"{learnt} examples to learn from, {held_out} that the model never sees.",
            f"{learnt} 条用于训练，{held_out} 条模型永远看不到。",
        )
    )
    return train, valid


def _base_model() -> None:
    """The embedded base, fetched on first use; nothing to say when it is there."""
    base = default_base()
    if not local_catalogue().ready(base):
        note("\n" + say("The base model is not on this machine yet:", "本机还没有基座模型："))
        with working("…"):
            local_catalogue().folder(base, note, current())


def _estimate(options: Options, train: Path) -> None:
    """What the job will come to; tokens are counted by the base model's own tokenizer, when it is here."""
    from luthier.data.cost_estimate import estimate
    from luthier.data.examples.example import read_examples
    from luthier.data.rendering.renderer import Renderer

    _title(3, say("Estimate", "估算"))
    base, catalogue = default_base(), local_catalogue()
    if names_a_server(options) and not catalogue.ready(base):
        note(
            say("The base model is elsewhere, so its tokens are not counted here.", "基座模型不在本机，无法统计词元。")
        )
        return
    renderer = Renderer(catalogue.folder(base))
    tokens = [len(renderer.example(example).ids) for example in read_examples(train)]
    made = estimate(tokens, n_epochs=_JOB["n_epochs"], model=_MODEL)
    note(
        say(
            f"{made.tokens:,} tokens × {made.epochs} epochs = {made.trained_tokens:,} tokens to train on.\n"
            f"OpenAI charged ${made.hosted_price_usd:.2f} for as much on {_MODEL}; here it costs a minute or two of "
            "this machine.",
            f"{made.tokens:,} 词元 × {made.epochs} 轮 = 训练 {made.trained_tokens:,} 词元。\n"
            f"在 OpenAI 上用 {_MODEL} 训练要收 ${made.hosted_price_usd:.2f}；这里只花本机一两分钟。",
        )
    )


def _compare(client: openai.OpenAI, valid: Path, tuned: str) -> list[Compared]:
    """Both models answer held-out examples, greedily, with no definitions sent."""
    _title(5, say("Compare on held-out examples", "在留出的样本上对比"), "client.chat.completions.create")
    lines = valid.read_text(encoding="utf-8").splitlines()[:_COMPARED]
    made = []
    with Progress(console=notices(), transient=True) as progress:
        task = progress.add_task(say("asking both models", "正在询问两个模型"), total=2 * len(lines))
        for line in lines:
            messages = json.loads(line)["messages"]
            said = []
            for model in (_MODEL, tuned):
                said.append(_answer(client, model, messages[:-1]))
                progress.advance(task)
            made.append(Compared(messages[-2]["content"], _text(messages[-1]), *said))
    return made


def _answer(client: openai.OpenAI, model: str, messages: list[Any]) -> str:
    answer = client.chat.completions.create(
        model=model, messages=messages, temperature=0, max_tokens=_ANSWER_TOKENS, seed=0
    )
    return _text(answer.choices[0].message.to_dict())


def _text(message: dict[str, Any]) -> str:
    """Calls as `name(argument=value)`, else the text, on one line."""
    calls = [call["function"] for call in message.get("tool_calls") or []]
    if calls:
        return "; ".join(_call(call["name"], json.loads(call["arguments"])) for call in calls)
    return " ".join((message.get("content") or "").split())


def _call(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={json.dumps(value)}' for key, value in arguments.items())})"


def _show(options: Options, connection: Connection, tuned: str, compared: list[Compared]) -> None:
    base, right = (sum(getattr(row, who) == row.right for row in compared) for who in ("base", "tuned"))
    table = Table(expand=False, show_lines=True)
    titles = (
        say("Asked", "问"),
        say(f"Base: {base}/{len(compared)} right", f"基座模型：对 {base}/{len(compared)}"),
        say(f"Fine-tuned: {right}/{len(compared)} right", f"微调模型：对 {right}/{len(compared)}"),
    )
    for title in titles:
        table.add_column(title, ratio=1, overflow="fold")
    for row in compared:
        good = row.tuned == row.right
        tuned_cell = f"[green]{escape(row.tuned)}[/green]" if good else f"[red]{escape(row.tuned)}[/red]"
        shown = row.base if len(row.base) <= 120 else row.base[:117] + "…"
        table.add_row(escape(row.asked), f"[dim]{escape(printable(shown))}[/dim]", printable(tuned_cell))
    notices().print(table, markup=True)
    if right > base:
        note(
            say(
                "No function definition was sent: the fine-tuned model knows its functions.",
                "没有发送任何函数定义：微调模型自己认识这些函数。",
            )
        )
    _title(6, say("Use it", "使用"), f"luthier serve{same_server(options)}" if connection.embedded else "")
    messages = [
        {"role": "system", "content": "You run the house. Call a function."},
        {"role": "user", "content": "Dim the hallway to 15 percent"},
    ]
    if not options.json:
        click.echo(python_lines(connection, tuned, messages))
