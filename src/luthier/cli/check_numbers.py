"""The token statistics of `luthier check` and `luthier estimate`, and the rendered example of `--show N`.

They work offline: a missing base model is reported, not downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from luthier.cli.errors import CliError
from luthier.cli.i18n import printable
from luthier.cli.local import base_folder
from luthier.cli.output import note, plural, print_json, print_table, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from luthier.data.findings import Report
    from luthier.data.rendering.renderer import Rendered, Renderer

_BARS = " ▁▂▃▄▅▆▇█"
_TRAINED_START, _TRAINED_END = "⟦", "⟧"  # around trained tokens where there is no colour


class BaseTokenizer:
    """Computes token statistics with the tokenizer of a base model (None: the default one).

    The tokenizer is loaded before any file is checked, so that the checks can reuse the memory that loading needs for a
    short time.

    Raises:
        CliError: The base model is unknown.
    """

    def __init__(self, base: str | None) -> None:
        from luthier.data.rendering.renderer import Renderer

        self._is_named = base is not None
        self._name, self._folder = base_folder(base)
        self._renderer = Renderer(self._folder) if self._folder else None

    def add_numbers(self, path: Path, report: Report, on_progress: Callable[[int], None] | None) -> None:
        """Adds the token statistics of a file, and the findings about them, to its report."""
        from luthier.base_config import context_tokens
        from luthier.data.file_renderer import renderer_of_files
        from luthier.data.openai_tokens import openai_counter
        from luthier.data.token_stats import SAMPLE_BYTES, measure

        if self._folder is None or self._renderer is None:
            report.token_stats = {"base": self._name, "why": missing_base(self._name)}
            return
        size = path.stat().st_size
        stats = measure(
            path,
            renderer_of_files(self._folder, [path], report.method, self._renderer),
            context_tokens(self._folder),
            method=report.method,
            sample_bytes=size if self._is_named else SAMPLE_BYTES,  # with --base, every example is counted
            count_openai=openai_counter(size),
            on_progress=on_progress,
        )
        for finding in stats.findings:
            report.add(finding)
        report.token_stats = {"base": self._name, **stats.to_dict(), "faulty": report.faulty}


def missing_base(name: str) -> str:
    """The message that tokens are not counted without the base model, and how to get it."""
    return say(
        f"Tokens are not counted: the base model {name} is not on this machine. To fetch it: luthier models pull",
        f"无法统计 token：本机没有基座模型 {name}。获取方法：luthier models pull",
    )


def nothing_counted(examples: int, faulty: int) -> str:
    """The message that says why a file with examples has no token counts."""
    if faulty == examples:
        return say(
            f"No tokens were counted: all {examples:,} examples have errors.",
            f"没有统计 token：全部 {examples:,} 个样本都有错误。",
        )
    return say(
        f"No tokens were counted: {faulty:,} of {plural(examples, 'example')} have errors, and the base model's chat "
        "template cannot render the others.",
        f"没有统计 token：{examples:,} 个样本中 {faulty:,} 个有错误，其余无法用基座模型的对话模板渲染。",
    )


def excluded_examples(numbers: dict[str, Any]) -> str:
    """The message about examples that are not counted; empty if all are."""
    faulty, examples = numbers["faulty"], numbers["examples"]
    if faulty:
        return say(
            f"Excluded from the counts because of errors: {faulty:,} of {plural(examples, 'example')}.",
            f"未计入有错误的样本：{faulty:,} / {examples:,}。",
        )
    if numbers["counted"] < numbers["sampled"]:
        unrenderable = numbers["sampled"] - numbers["counted"]
        return say(
            f"Excluded from the counts (not renderable by the chat template): {unrenderable:,} of "
            f"{plural(numbers['sampled'], 'example')}.",
            f"未计入对话模板无法渲染的样本：{unrenderable:,} / {numbers['sampled']:,}。",
        )
    return ""


def print_numbers(console: Console, path: Path, report: Report) -> None:
    """Prints the section with token statistics, if the report has any."""
    numbers = report.token_stats
    if not numbers or numbers.get("examples") == 0:
        return
    if "why" in numbers or not numbers["counted"]:
        reason = numbers.get("why") or nothing_counted(numbers["examples"], numbers["faulty"])
        console.print(printable(reason) + "\n", soft_wrap=True)
        return
    names = {
        "messages": say("messages", "消息"),
        "tokens": say("tokens", "token"),
        "trained": say("trained tokens", "参与训练的 token"),
        "openai": say("OpenAI tokens", "OpenAI token"),
    }
    columns = [
        say("per example", "每个样本"), say("min", "最小"), "p5", say("mean", "平均"), "p95", say("max", "最大"),
        say("spread", "分布"),
    ]  # fmt: skip
    spreads = [(label, numbers[key]) for key, label in names.items() if numbers[key]]
    print_table(columns, ((label, *_figures(spread), _histogram(spread["bars"])) for label, spread in spreads))
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
    approximately = say("about ", "约 ") if is_sample else ""
    text = say(
        f"{approximately}{total:,} tokens with the tokenizer of {base}; longer than its context of {context:,} tokens: "
        f"{numbers['truncated']} of {numbers['examples']:,} examples.",
        f"按 {base} 的分词器{approximately}共 {total:,} 个 token；超过其上下文长度 {context:,} 的样本："
        f"{numbers['truncated']} / {numbers['examples']:,}。",
    )
    if is_sample:
        text += say(
            f" Counted on a sample of {numbers['counted']:,} examples (seed 42).",
            f"根据抽样的 {numbers['counted']:,} 个样本统计（种子 42）。",
        )
    if excluded := excluded_examples(numbers):
        text += say(" ", "") + excluded
    if not numbers["openai"]:
        text += say(" To count OpenAI tokens too: pip install 'luthier[openai-tokens]'",
                    "要同时按 OpenAI 的词表统计：pip install 'luthier[openai-tokens]'")  # fmt: skip
    return text


def show_example(path: Path, number: int, base: str | None, method: str | None, as_json: bool) -> None:
    """Prints the rendered example `number`, its trained tokens in green or between marks.

    A preference pair is printed twice, once with each answer.

    Raises:
        CliError: There is no such example, or the base model is missing.
    """
    from luthier.base_config import context_tokens
    from luthier.data.check.file_check import checked_examples
    from luthier.data.check.method import recognised_method
    from luthier.data.file_renderer import renderer_of_files
    from luthier.data.jsonl.reader import read_lines

    name, folder = base_folder(base)
    if folder is None:
        raise CliError(missing_base(name))
    line = next(islice(read_lines(path), number - 1, None), None)
    if line is None:
        raise CliError(say(f"{path} has no example {number}.", f"{path} 没有第 {number} 个样本。"))
    method = method or recognised_method(path)
    examples = checked_examples(line, method)
    renderer, context = renderer_of_files(folder, [path], method), context_tokens(folder)
    details = [_shown(renderer, renderer.example(example), context) for example in examples]
    if as_json:
        parts = [{key: part[key] for key in ("ids", "tokens", "weights")} for part in details]
        pair = {"preferred": parts[0], "non_preferred": parts[-1]}
        print_json({"example": number, "line": line.number, **(parts[0] if len(parts) == 1 else pair)})
        return
    titles = (say("Preferred answer:", "优选回答："), say("Non-preferred answer:", "非优选回答："))
    for title, part in zip(titles if len(details) > 1 else ("",), details, strict=True):
        if title:
            note(title)
        _print_runs(renderer.decode, part["ids"], part["weights"])
        _print_counts(line.number, part, context)


def _shown(renderer: Renderer, rendered: Rendered, context: int) -> dict[str, Any]:
    """The `ids`, `tokens` and `weights` of a conversation, cut off at the context, and its full `length` in tokens."""
    ids = rendered.ids[:context]
    tokens = [renderer.decode([token]) for token in ids]
    return {
        "ids": ids, "tokens": tokens, "weights": [0.0, *rendered.weights[1:context]], "length": len(rendered.ids),
    }  # fmt: skip


def _print_counts(line: int, part: dict[str, Any], context: int) -> None:
    trained, length = sum(map(bool, part["weights"])), part["length"]
    note(
        say(
            f"Line {line}: {length:,} tokens, {trained:,} of them trained (in green, or between "
            f"{_TRAINED_START} and {_TRAINED_END}).",
            f"第 {line} 行：{length:,} 个 token，其中 {trained:,} 个参与训练（绿色，或在 "
            f"{_TRAINED_START} 与 {_TRAINED_END} 之间）。",
        )
    )
    if length > context:
        cut = length - context
        note(say(f"The last {cut:,} tokens exceed the base model's context and are truncated.",
                 f"最后 {cut:,} 个 token 超出基座模型的上下文，会被截去。"), "yellow")  # fmt: skip


def _print_runs(decode: Callable[[list[int]], str], ids: list[int], weights: list[float]) -> None:
    """Prints consecutive trained or untrained tokens together, so that characters of several tokens are complete."""
    console = stdout_console()
    text = Text()
    start = 0
    for end in range(1, len(ids) + 1):
        if end == len(ids) or bool(weights[end]) != bool(weights[start]):
            run = printable(decode(ids[start:end]))
            if weights[start]:
                text.append(run if console.color_system else f"{_TRAINED_START}{run}{_TRAINED_END}", "bold green")
            else:
                text.append(run, "dim")
            start = end
    console.print(text, soft_wrap=True)
