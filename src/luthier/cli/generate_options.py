"""The options of `luthier generate`, by what they are about, and what they come to: one `Asked`.

Knows nothing about what is done with them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from luthier.language import say

Command = TypeVar("Command", bound=Callable[..., Any])
PROBES = 12


@dataclass(frozen=True)
class Asked:
    """The options of one command line, by name."""

    topics: tuple[str, ...]
    functions: Path | None
    form: str
    count: int
    values: Path | None
    phrasings: int
    without_definitions: bool
    no_teacher: bool
    per_topic: int
    teacher: str | None
    judge: str | None
    out: Path
    system: str | None
    style: str | None
    language: str | None
    task: tuple[str, ...]
    persona: tuple[str, ...]
    sub_topics: int
    batch: int
    max_tokens: int
    temperature: float
    seed: int
    concurrency: int
    requests_per_minute: float | None
    tokens_per_minute: int | None
    price_in: float | None
    price_out: float | None
    judge_price_in: float | None
    judge_price_out: float | None
    max_cost: float | None
    timeout: float
    dry_run: bool
    probe: bool
    force: bool


def generate_options(command: Command) -> Command:
    """Adds the options that `Asked` collects."""
    for option in reversed([*_WHAT, *_CALLS, *_HOW, *_PACE, *_COST, *_ONLY]):
        command = option(command)
    return command


def _option(flag: str, en: str, zh: str, **attributes: Any) -> Callable[[Command], Command]:
    """An option with its help in both languages; its default is shown where it has one."""
    names = (flag, attributes.pop("name")) if "name" in attributes else (flag,)
    attributes.setdefault("show_default", "default" in attributes)
    return click.option(*names, help=say(en, zh), **attributes)


_FILE = click.Path(dir_okay=False, path_type=Path)
_RATE = click.FloatRange(min=0, min_open=True)
_DOLLARS: dict[str, Any] = {"type": click.FloatRange(min=0), "metavar": "USD"}

_WHAT = (
    _option("--topic", "A topic; repeat for more.", "主题；可以重复给出。", name="topics", multiple=True),
    _option("--per-topic", "Examples of each topic.", "每个主题的样本数。", type=click.IntRange(1), default=10),
    _option("--teacher", "The model that writes.", "负责编写的教师模型。", metavar="MODEL"),
    _option("--judge",
            "A model that scores each example 1 to 5; it is kept from 4 in every respect on. Better not the teacher.",
            "给每个样本打 1 到 5 分的评审模型；每项都不低于 4 分才保留。最好不是教师模型自己。", metavar="MODEL"),
    _option("--out", "The file of examples; rejects, report and journal lie beside it.",
            "样本文件；剔除的样本、报告和运行日志放在旁边。", required=True, metavar="FILE", type=_FILE),
    _option("--system", "The serving system prompt, part of each example.", "服务时的系统提示词，写进每个样本。"),
    _option("--style", "Words for the teacher alone, after the system prompt; no part of the examples.",
            "只告诉教师模型的话，接在系统提示词之后；不写进样本。"),
    _option("--language", "Of the examples; else the topics' own.", "样本的语言；不给出时随主题。",
            type=click.Choice(("zh", "en"))),
)  # fmt: skip
_CALLS = (
    _option("--functions", "Instead of topics: a JSON file of function definitions; examples of calls are made.",
            "代替主题：函数定义的 JSON 文件；生成函数调用的样本。", metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path)),
    _option("--count", "Examples, with --functions.", "样本数（配合 --functions）。", type=click.IntRange(1),
            default=100),
    _option("--form", "Of the calls: tools, or the legacy functions.", "调用的写法：tools，或旧式的 functions。",
            type=click.Choice(("tools", "functions")), default="tools"),
    _option("--without-definitions", "Leave the definitions out of the examples: the model learns them by heart.",
            "样本里不写函数定义：让模型记住它们。", is_flag=True),
    _option("--values", "JSON file of values, phrasings and small talk of your own.",
            "自备取值、说法和闲聊的 JSON 文件。", metavar="FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path)),
    _option("--phrasings", "Ways to word each call.", "每个调用写几种说法。", type=click.IntRange(1, 5), default=2),
    _option("--no-teacher", "Word the calls with templates; asks nobody.", "用模板生成说法，不需要任何模型。",
            is_flag=True),
)  # fmt: skip
_HOW = (
    _option("--task", "A kind of question, instead of the usual ones.", "问题的类型，代替默认的类型。", multiple=True),
    _option("--persona", "Who asks, instead of the usual ones.", "提问者，代替默认的人群。", multiple=True),
    _option("--sub-topics", "Parts that the teacher divides a topic into.", "教师模型把每个主题拆成几部分。",
            type=click.IntRange(0, 50), default=8),
    _option("--batch", "Questions per request.", "每个请求写几个问题。", type=click.IntRange(1, 20), default=5),
    _option("--max-tokens", "Of an answer; a longer one is rejected, never cut.",
            "回答的上限；超过的会剔除，绝不截断保留。", type=click.IntRange(16), default=800),
    _option("--temperature", "Of all that the teacher writes.", "教师模型写作时的温度。",
            type=click.FloatRange(0, 2), default=0.7),
    _option("--seed", "Of the plan.", "计划的随机种子。", type=int, default=42),
)  # fmt: skip
_PACE = (
    _option("--concurrency", "Requests at once.", "同时进行的请求数。", type=click.IntRange(1, 256), default=4),
    _option("--requests-per-minute", "The service's limit, if it has one.", "服务的每分钟请求数上限（如果有）。",
            type=_RATE, metavar="N"),
    _option("--tokens-per-minute", "The service's limit, if it has one.", "服务的每分钟 token 上限（如果有）。",
            type=click.IntRange(1), metavar="N"),
    _option("--timeout", "Of one request.", "单个请求的时限（秒）。", type=_RATE, default=300, metavar="SECONDS"),
)  # fmt: skip
_COST = (
    _option("--price-in", "The teacher's price of 1M prompt tokens.", "教师模型每百万输入 token 的价格（美元）。",
            **_DOLLARS),
    _option("--price-out", "The teacher's price of 1M completion tokens.", "教师模型每百万输出 token 的价格（美元）。",
            **_DOLLARS),
    _option("--judge-price-in", "The judge's.", "评审模型的输入价格。", **_DOLLARS),
    _option("--judge-price-out", "The judge's.", "评审模型的输出价格。", **_DOLLARS),
    _option("--max-cost", "Never spend more on this file, earlier runs included.",
            "这个文件最多花多少，包括之前的运行。", **_DOLLARS),
)  # fmt: skip
_ONLY = (
    _option("--dry-run", "Show slots, requests and the most it can cost; ask nothing.",
            "只显示计划、请求数和费用上限；不发任何请求。", is_flag=True),
    _option("--probe", f"Estimate from at most {PROBES} real requests; the run itself finds them in the journal.",
            f"用最多 {PROBES} 个真实请求来估算；正式运行会直接用上它们。", is_flag=True),
    _option("--force", "Overwrite the file.", "覆盖已有文件。", is_flag=True),
)  # fmt: skip
