"""The click options of `luthier generate`, and `GenerateOptions`, which groups their values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from luthier.cli.options import option

Command = TypeVar("Command", bound=Callable[..., Any])
PROBE_REQUESTS = 12


@dataclass(frozen=True)
class TopicOptions:
    """Options for questions and answers on topics."""

    topics: tuple[str, ...]
    per_topic: int
    style: str | None
    task: tuple[str, ...]
    persona: tuple[str, ...]
    sub_topics: int
    batch: int
    max_tokens: int
    temperature: float


@dataclass(frozen=True)
class CallOptions:
    """Options for tool calls from function definitions."""

    functions: Path | None
    form: str
    count: int
    values: Path | None
    phrasings: int
    without_definitions: bool
    no_teacher: bool


@dataclass(frozen=True)
class ModelOptions:
    """The teacher and the judge, and the limits of their service; `timeout` is in seconds per request."""

    teacher: str | None
    judge: str | None
    concurrency: int
    requests_per_minute: float | None
    tokens_per_minute: int | None
    timeout: float


@dataclass(frozen=True)
class CostOptions:
    """Prices in US dollars per million tokens, and the cap `max_cost` in US dollars."""

    price_in: float | None
    price_out: float | None
    judge_price_in: float | None
    judge_price_out: float | None
    max_cost: float | None


@dataclass(frozen=True)
class GenerateOptions:
    """All options of the command."""

    topic: TopicOptions
    call: CallOptions
    models: ModelOptions
    cost: CostOptions
    out: Path
    system: str | None
    language: str | None
    seed: int
    dry_run: bool
    probe: bool
    force: bool
    yes: bool

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> "GenerateOptions":
        """Groups the values of the click options by their names."""
        groups = {"topic": TopicOptions, "call": CallOptions, "models": ModelOptions, "cost": CostOptions}
        grouped = {name: group(**{f.name: values[f.name] for f in fields(group)}) for name, group in groups.items()}
        return cls(**grouped, **{f.name: values[f.name] for f in fields(cls) if f.name not in groups})


def generate_options(command: Command) -> Command:
    """Adds the click options whose values `GenerateOptions` groups."""
    for add in reversed([*_OUTPUT, *_CALLS, *_SAMPLING, *_LIMITS, *_COST, *_MODES]):
        command = add(command)
    return command


_OUTPUT_FILE = click.Path(dir_okay=False, path_type=Path)
_POSITIVE = click.FloatRange(min=0, min_open=True)
_DOLLARS: dict[str, Any] = {"type": click.FloatRange(min=0), "metavar": "USD"}

_OUTPUT = (
    option("--topic", "A topic; repeatable.", "主题，可重复。", name="topics", multiple=True),
    option("--per-topic", "Examples per topic.", "每个主题的样本数。", type=click.IntRange(1), default=10),
    option("--teacher", "Teacher model, which writes the examples.", "编写样本的教师模型。", metavar="MODEL"),
    option("--judge",
           "Judge model, which scores examples from 1 to 5; those below 4 in any criterion are rejected. Should not "
           "be the teacher.",
           "给样本打 1 到 5 分的评审模型；任何一项低于 4 分的样本会剔除。不应是教师模型自己。", metavar="MODEL"),
    option("--out", "Output file; rejects, report and journal are written beside it.",
           "输出文件；剔除的样本、报告和运行日志写在旁边。", required=True, metavar="FILE", type=_OUTPUT_FILE),
    option("--system", "System prompt of serving, part of every example.", "推理时的系统提示，写进每个样本。"),
    option("--style", "Instructions for the teacher after the system prompt; not part of the examples.",
           "给教师模型的说明，接在系统提示之后；不写进样本。"),
    option("--language", "Language of the examples; default: that of the topics.", "样本的语言；默认与主题相同。",
           type=click.Choice(("zh", "en"))),
)  # fmt: skip
_CALLS = (
    option("--functions", "JSON file of function definitions, instead of topics: generates examples of tool calls.",
           "函数定义的 JSON 文件，代替主题：生成函数调用的样本。", metavar="FILE",
           type=click.Path(exists=True, dir_okay=False, path_type=Path)),
    option("--count", "Number of examples, with --functions.", "样本数（配合 --functions）。", type=click.IntRange(1),
           default=100),
    option("--form", "Format of the calls: tools, or legacy functions.", "调用的格式：tools，或旧式的 functions。",
           type=click.Choice(("tools", "functions")), default="tools"),
    option("--without-definitions", "Leave tool definitions out of the examples, so that the model memorizes them.",
           "样本里不写函数定义，让模型记住它们。", is_flag=True),
    option("--values", "JSON file with your own values, phrasings and small talk.",
           "自备取值、说法和闲聊的 JSON 文件。", metavar="FILE",
           type=click.Path(exists=True, dir_okay=False, path_type=Path)),
    option("--phrasings", "Phrasings per call.", "每个调用的说法数。", type=click.IntRange(1, 5), default=2),
    option("--no-teacher", "Phrase the calls with templates, without a model.", "用模板生成说法，不使用模型。",
           is_flag=True),
)  # fmt: skip
_SAMPLING = (
    option("--task", "Kind of question, instead of the defaults; repeatable.",
           "问题的类型，代替默认的类型，可重复。", multiple=True),
    option("--persona", "Persona who asks, instead of the defaults; repeatable.",
           "提问者，代替默认的人群，可重复。", multiple=True),
    option("--sub-topics", "Sub-topics per topic, chosen by the teacher.", "教师模型为每个主题拆出的子主题数。",
           type=click.IntRange(0, 50), default=8),
    option("--batch", "Questions per request.", "每个请求的问题数。", type=click.IntRange(1, 20), default=5),
    option("--max-tokens", "Token limit of an answer; longer answers are rejected, not truncated.",
           "回答的 token 上限；超过的会剔除，不会截断保留。", type=click.IntRange(16), default=800),
    option("--temperature", "Sampling temperature of the teacher.", "教师模型的采样温度。",
           type=click.FloatRange(0, 2), default=0.7),
    option("--seed", "Random seed of the plan.", "计划的随机种子。", type=int, default=42),
)  # fmt: skip
_LIMITS = (
    option("--concurrency", "Concurrent requests.", "并发请求数。", type=click.IntRange(1, 256), default=4),
    option("--requests-per-minute", "Request rate limit of the service.", "服务的每分钟请求数上限。",
           type=_POSITIVE, metavar="N"),
    option("--tokens-per-minute", "Token rate limit of the service.", "服务的每分钟 token 上限。",
           type=click.IntRange(1), metavar="N"),
    option("--timeout", "Timeout per request.", "单个请求的时限（秒）。",
           type=_POSITIVE, default=300, metavar="SECONDS"),
)  # fmt: skip
_COST = (
    option("--price-in", "Teacher's price of 1M prompt tokens.", "教师模型每百万提示 token 的价格（美元）。",
           **_DOLLARS),
    option("--price-out", "Teacher's price of 1M completion tokens.", "教师模型每百万输出 token 的价格（美元）。",
           **_DOLLARS),
    option("--judge-price-in", "Judge's price of 1M prompt tokens.", "评审模型每百万提示 token 的价格（美元）。",
           **_DOLLARS),
    option("--judge-price-out", "Judge's price of 1M completion tokens.", "评审模型每百万输出 token 的价格（美元）。",
           **_DOLLARS),
    option("--max-cost", "Cost limit for this output file, including earlier runs.",
           "此输出文件的费用上限，包括之前的运行。", **_DOLLARS),
)  # fmt: skip
_MODES = (
    option("--dry-run", "Print slots, requests and maximum cost without sending requests.",
           "只打印计划、请求数和最高费用，不发送请求。", is_flag=True),
    option("--probe", f"Estimate the cost with at most {PROBE_REQUESTS} requests; the run reuses their replies.",
           f"用最多 {PROBE_REQUESTS} 个请求估算费用；正式运行会使用它们的回复。", is_flag=True),
    option("--force", "Overwrite existing files.", "覆盖已有文件。", is_flag=True),
    option("--yes", "Use the teacher without asking, even if its name stands for a small model of this server.",
           "不再确认：即使教师模型的名称背后是本服务器上的小模型，也照样使用。", is_flag=True),
)  # fmt: skip
