"""`luthier models suggest`: two or three bases for a language and a task, with their cost on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from luthier.cli.estimate import MAX_NIGHT_S, duration_text
from luthier.cli.local import local_catalogue, settings_of
from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import format_bytes, note, print_json, print_table
from luthier.cli.throughput import known_speeds
from luthier.language import current, say

if TYPE_CHECKING:
    from luthier.catalogue.suggestions import Suggestion, Task

_TASKS = ("calls", "chat", "reasoning")
_TOKENS = 100_000


@click.command(
    "suggest",
    help=say(
        "Suggest two or three base models for a language and a task, with licence, memory and training time on this "
        "machine.\n\nExample: luthier models suggest --language zh --task calls",
        "按语言和任务推荐两三个基座模型，并给出许可证、在本机上所需的内存和训练时间。\n\n"
        "例子：luthier models suggest --language zh --task calls",
    ),
)
@click.option(
    "--language",
    metavar="CODE",
    help=say("Language of the data, such as zh or en; default: that of the command line.",
             "数据的语言，例如 zh 或 en；默认与命令行的语言相同。"),
)  # fmt: skip
@click.option("--task", type=click.Choice(_TASKS), default="calls", show_default=True,
              help=say("Task of the model.", "模型的任务类型。"))  # fmt: skip
@click.option("--tokens", type=click.IntRange(min=1), default=_TOKENS, show_default=True,
              help=say("Trained tokens, as `luthier estimate` counts them.",
                       "要训练的 token 数（见 luthier estimate）。"))  # fmt: skip
@local_options
@pass_options
def suggest_bases(options: Options, language: str | None, task: str, tokens: int) -> None:
    suggestions = suggestions_here(options, language or current(), task, tokens)
    if options.json:
        print_json([suggestion.to_dict() for suggestion in suggestions])
        return
    _print(suggestions, tokens)


def suggestions_here(options: Options, language: str, task: str, tokens: int) -> list[Suggestion]:
    """The bases suggested for this machine, by its known speeds; without any, its smallest base is measured first."""
    from luthier.catalogue.suggestions import suggest
    from luthier.hardware import available_memory

    catalogue = local_catalogue()
    folders = {name: catalogue.folder(name) for name in catalogue.names() if catalogue.ready(name)}
    speeds = known_speeds(settings_of(options), catalogue.cache, folders)
    return suggest(language, cast("Task", task), tokens, available_memory(), speeds.values(), MAX_NIGHT_S)


def _print(suggestions: list[Suggestion], tokens: int) -> None:
    from luthier.catalogue.suggestions import DATED

    columns = (
        say("base", "基座"), say("parameters", "参数量"), say("licence", "许可证"), say("calls", "调用格式"),
        say("context", "上下文"), say("memory", "内存"), say(f"{tokens:,} tokens take", f"{tokens:,} 个 token 需"),
        say("tested with", "测试方式"),
    )  # fmt: skip
    empty = say("No base model in the table supports this language and fits into the free memory.",
                "表中没有既支持这种语言、又能放进空闲内存的基座模型。")  # fmt: skip
    print_table(columns, [_row(suggestion) for suggestion in suggestions], empty=empty)
    if not suggestions:
        return
    note(say(
        f"As of {DATED}. Licence and languages come from the model cards: read a card before you rely on it. Memory "
        "and time are scaled by size from measurements on this machine; a base with separate rows is slower.",
        f"截至 {DATED}。许可证和语言以发布者的模型卡为准：依赖之前请自行查看。内存和时间按本机实测结果以大小折算；"
        "样本单独成行的基座会更慢。",
    ), "dim")  # fmt: skip
    note(say(f"Get one: luthier models pull {suggestions[0].base.source}",
             f"获取：luthier models pull {suggestions[0].base.source}"))  # fmt: skip


def _row(suggestion: Suggestion) -> tuple[str, ...]:
    base = suggestion.base
    tried = {
        "weights": say("its real weights", "真实权重"),
        "template": say("its template, tiny weights", "真实模板、微型权重"),
        "architecture": say("its architecture, tiny weights", "同一架构、微型权重"),
    }
    calls = say("Luthier's own", "Luthier 自己的") if base.calls == "luthier" else base.calls
    time = "–" if suggestion.seconds is None else say("about ", "约 ") + duration_text(suggestion.seconds)
    rows = say(", separate rows", "，单独成行") if base.rows == "separate" else ""
    return (
        base.source, f"{base.parameters:,} M", base.licence, calls, f"{base.context_tokens:,}",
        format_bytes(suggestion.memory_bytes), time, tried[base.tried] + rows,
    )  # fmt: skip
