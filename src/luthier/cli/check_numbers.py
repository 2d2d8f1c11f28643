"""The numbers of `luthier check` and `luthier estimate`, and `--show N`: one example as the trainer sees it.

Asks for nothing over the network: where the base model or OpenAI's vocabulary is not on this machine, it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from luthier.cli.errors import Trouble
from luthier.cli.i18n import printable
from luthier.cli.output import counted_as, note, print_json, print_table, results
from luthier.language import say

if TYPE_CHECKING:
    from luthier.data.findings import Report

_BARS = " ▁▂▃▄▅▆▇█"
_OPENS, _CLOSES = "⟦", "⟧"  # around trained tokens, where there is no colour
_OPENAI_VOCABULARY = "o200k_base"  # of the gpt-4o and gpt-4.1 families
_PIECE = 50_000  # characters: at most 200,000 bytes, so as many tokens, which is the most its package counts at once


def base_folder(base: str | None) -> tuple[str, Path | None]:
    """The base model that is meant, and its folder if it is on this machine."""
    from luthier.catalogue import Catalogue
    from luthier.settings import Settings

    settings = Settings()
    name = base or settings.base
    name = str(Path(name).absolute()) if Path(name).is_dir() else name
    catalogue = Catalogue(settings.cache)
    if name not in catalogue:
        raise Trouble(say(f"There is no base model '{name}'. See: luthier models list",
                          f"没有基座模型“{name}”。请看：luthier models list"))  # fmt: skip
    return name, catalogue.folder(name) if catalogue.ready(name) else None


def openai_counter() -> Callable[[str], int] | None:
    """Counts by OpenAI's vocabulary, if the package that carries it is installed; texts may be of any length."""
    try:
        from bpe_openai import get_encoding
    except ImportError:
        return None
    encoding = get_encoding(_OPENAI_VOCABULARY)
    return lambda text: sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """A long text cut before single spaces, which no token crosses; where there is none, anywhere: a token more."""
    start = 0
    while len(text) - start > _PIECE:
        space = text.rfind(" ", start + 1, start + _PIECE)
        while space > start and text[space - 1].isspace():
            space = text.rfind(" ", start + 1, space)
        end = space if space > start else start + _PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def add_numbers(path: Path, report: Report, base: str | None, on_line: Callable[[int], None] | None) -> None:
    """Measures a file, and adds the numbers and their findings to its report."""
    from luthier.data.rendering.renderer import Renderer
    from luthier.data.token_stats import context_tokens, measure

    name, folder = base_folder(base)
    if folder is None:
        report.numbers = {"base": name, "why": missing(name)}
        return
    made = measure(path, Renderer(folder), context_tokens(folder), count_openai=openai_counter(), on_line=on_line)
    for finding in made.findings:
        report.add(finding)
    report.numbers = {"base": name, **made.to_dict(), "faulty": report.faulty}


def missing(name: str) -> str:
    """Why there are no token counts, and what to do."""
    return say(
        f"Tokens are not counted: the base model {name} is not on this machine. Fetch it with: luthier models pull",
        f"无法统计 token：本机没有基座模型 {name}。获取方法：luthier models pull",
    )


def uncounted(examples: int, faulty: int) -> str:
    """Why a file that has examples has no token counts."""
    if faulty == examples:
        return say(
            f"No tokens are counted: every example has an error ({examples:,} of {examples:,}).",
            f"没有统计 token：全部 {examples:,} 个样本都有错误。",
        )
    return say(
        f"No tokens are counted: {faulty:,} of {counted_as(examples, 'example')} have errors, the others are "
        "preference pairs or cannot be rendered by the base model's chat template.",
        f"没有统计 token：{examples:,} 个样本中 {faulty:,} 个有错误，其余是偏好对，或无法用基座模型的对话模板渲染。",
    )


def left_out_of(numbers: dict[str, Any]) -> str:
    """Which examples the counts leave out; empty if they leave out none."""
    faulty, examples = numbers["faulty"], numbers["examples"]
    if faulty:
        return say(
            f"Left out of the counts because they have errors: {faulty:,} of {counted_as(examples, 'example')}.",
            f"未计入有错误的样本：{faulty:,} / {examples:,}。",
        )
    if numbers["counted"] < numbers["sampled"]:
        other = numbers["sampled"] - numbers["counted"]
        return say(
            f"Not counted, because they are preference pairs or cannot be rendered by the chat template: {other:,} of "
            f"{counted_as(numbers['sampled'], 'example')}.",
            f"未计入偏好对或对话模板无法渲染的样本：{other:,} / {numbers['sampled']:,}。",
        )
    return ""


def print_numbers(console: Console, path: Path, report: Report) -> None:
    """A section of the report: nothing where nothing was measured."""
    numbers = report.numbers
    if not numbers or numbers.get("examples") == 0:
        return
    if "why" in numbers or not numbers["counted"]:
        why = numbers.get("why") or uncounted(numbers["examples"], numbers["faulty"])
        console.print(printable(why) + "\n", soft_wrap=True)
        return
    names = {
        "messages": say("messages", "消息"),
        "tokens": say("tokens", "token"),
        "trained": say("trained tokens", "参与训练的 token"),
        "openai": say("OpenAI tokens", "OpenAI token"),
    }
    columns = [say("per example", "每个样本"), "min", "p5", say("mean", "平均"), "p95", "max", say("spread", "分布")]
    spreads = [(label, numbers[key]) for key, label in names.items() if numbers[key]]
    print_table(columns, ((label, *_figures(one), _histogram(one["bars"])) for label, one in spreads))
    console.print(printable(_summary(numbers)) + "\n", soft_wrap=True)


def _figures(spread: dict[str, Any]) -> list[str]:
    return [f"{spread[key]:,.0f}" for key in ("min", "p5", "mean", "p95", "max")]


def _histogram(bars: list[int]) -> str:
    top = max(bars)
    return "".join(_BARS[-(-8 * bar // top)] for bar in bars)


def _summary(numbers: dict[str, Any]) -> str:
    base = Path(numbers["base"]).name
    total, context = numbers["total_tokens"], numbers["context_tokens"]
    is_sample = numbers["sampled"] < numbers["examples"]
    about = say("about ", "约 ") if is_sample else ""
    text = say(
        f"{about}{total:,} tokens by the tokenizer of {base}; longer than its context of {context:,} tokens: "
        f"{numbers['truncated']} of {numbers['examples']:,} examples.",
        f"按 {base} 的分词器{about}共 {total:,} 个 token；超过其上下文长度 {context:,} 的样本："
        f"{numbers['truncated']} / {numbers['examples']:,}。",
    )
    if is_sample:
        text += say(
            f" Counted on a sample of {numbers['counted']:,} examples (seed 42).",
            f"根据抽样的 {numbers['counted']:,} 个样本统计（种子 42）。",
        )
    if left_out := left_out_of(numbers):
        text += say(" ", "") + left_out
    if not numbers["openai"]:
        text += say(" For OpenAI's count too: pip install 'luthier[openai-tokens]'",
                    "同时按 OpenAI 的词表统计：pip install 'luthier[openai-tokens]'")  # fmt: skip
    return text


def show_example(path: Path, number: int, base: str | None, as_json: bool) -> None:
    """Prints example `number` as the trainer sees it: the tokens that are trained in green, or between marks."""
    from luthier.data.check.file_check import checked_example
    from luthier.data.jsonl.reader import read_lines
    from luthier.data.rendering.renderer import Renderer
    from luthier.data.token_stats import context_tokens

    name, folder = base_folder(base)
    if folder is None:
        raise Trouble(missing(name))
    line = next(islice(read_lines(path), number - 1, None), None)
    if line is None:
        raise Trouble(say(f"{path} has no example {number}.", f"{path} 没有第 {number} 个样本。"))
    example = checked_example(line)
    renderer, context = Renderer(folder), context_tokens(folder)
    whole = renderer.example(example)
    weights = [0.0, *whole.weights[1:context]]
    if as_json:
        tokens = [renderer.decode([token]) for token in whole.ids[:context]]
        ids = whole.ids[:context]
        print_json({"example": number, "line": example.line, "ids": ids, "tokens": tokens, "weights": weights})
        return
    _print_runs(renderer.decode, whole.ids[:context], weights)
    trained = sum(map(bool, weights))
    note(
        say(
            f"Line {example.line}: {len(whole.ids):,} tokens, {trained:,} of them trained (in green, or between "
            f"{_OPENS} and {_CLOSES}).",
            f"第 {example.line} 行：{len(whole.ids):,} 个 token，其中 {trained:,} 个参与训练（绿色，或 {_OPENS} 与 "
            f"{_CLOSES} 之间）。",
        )
    )
    if len(whole.ids) > context:
        cut = len(whole.ids) - context
        note(say(f"The last {cut:,} tokens are beyond the base model's context and cut off.",
                 f"最后 {cut:,} 个 token 超出基座模型的上下文，会被截去。"), "yellow")  # fmt: skip


def _print_runs(decode: Callable[[list[int]], str], ids: list[int], weights: list[float]) -> None:
    """Neighbouring tokens of one kind are decoded together, so that characters of several tokens come out whole."""
    console = results()
    text = Text()
    start = 0
    for at in range(1, len(ids) + 1):
        if at == len(ids) or bool(weights[at]) != bool(weights[start]):
            piece = printable(decode(ids[start:at]))
            if weights[start]:
                text.append(piece if console.color_system else f"{_OPENS}{piece}{_CLOSES}", "bold green")
            else:
                text.append(piece, "dim")
            start = at
    console.print(text, soft_wrap=True)
