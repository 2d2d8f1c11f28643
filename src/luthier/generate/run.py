"""A run from start to finish: teacher and judge share a journal, a budget and rate limits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import openai

from luthier.generate.budget import Budget, Price
from luthier.generate.cost_forecast import estimate, expected_requests
from luthier.generate.errors import OptionsError, RunStoppedError
from luthier.generate.journal import Journal
from luthier.generate.judge import Judge
from luthier.generate.limits import RateLimits
from luthier.generate.list_prompts import ListPrompter, supports_json_schema
from luthier.generate.report import topic_report, usage_report
from luthier.generate.teacher import Teacher
from luthier.generate.topics import TopicRun, TopicSpec
from luthier.language import say

Notify = Callable[[str], None]
Progress = Callable[[int, int, float], None]  # called with the examples, replies and US dollars so far


@dataclass(frozen=True)
class TeacherOptions:
    """The models of a run, and its limits.

    Attributes:
        prices: Price by model; None where it is unknown.
        cost_cap: In US dollars, over all runs with the journal; None for no cap.
        max_requests: The number of requests after which a probe stops; None for other runs.
    """

    teacher: str
    judge: str | None = None
    prices: Mapping[str, Price | None] = field(default_factory=dict)
    cost_cap: float | None = None
    concurrency: int = 4
    requests_per_minute: float | None = None
    tokens_per_minute: int | None = None
    max_consecutive_failures: int = 10
    max_requests: int | None = None

    @property
    def models(self) -> list[str]:
        return [self.teacher, *([self.judge] if self.judge else [])]


@dataclass
class GenerationResult:
    """The result of a run; `stopped` is the error that ended it early, None if it ran to completion."""

    examples: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    report: dict[str, Any]
    stopped: RunStoppedError | None = None


class RunContext:
    """The teacher and the judge of a run, with the journal and the budget that they share."""

    def __init__(
        self, client: openai.AsyncOpenAI, options: TeacherOptions, journal: Journal, progress: Progress
    ) -> None:
        """Raises OptionsError for a cost cap if the price of a model is unknown, in this run or in an earlier one."""
        self.journal, self.budget = journal, _budget(options, journal)
        self._progress, self._examples, self._replies = progress, 0, 0
        limits = RateLimits(options.concurrency, options.requests_per_minute, options.tokens_per_minute)
        self.teachers = [
            Teacher(
                client,
                model,
                journal,
                self.budget,
                limits,
                max_consecutive_failures=options.max_consecutive_failures,
                max_requests=options.max_requests,
                on_reply=self._on_reply,
            )
            for model in options.models
        ]
        self.teacher, self.judge = self.teachers[0], self.teachers[1] if options.judge else None

    def _on_reply(self) -> None:
        self._replies += 1
        self._progress(self._examples, self._replies, self.budget.spent)

    def on_examples(self, count: int) -> None:
        """Reports progress with a new number of examples."""
        self._examples = count
        self._progress(count, self._replies, self.budget.spent)

    @property
    def stopped(self) -> RunStoppedError | None:
        return next((teacher.stopped for teacher in self.teachers if teacher.stopped), None)


def _budget(options: TeacherOptions, journal: Journal) -> Budget:
    """The run's budget, which includes the cost of the journal's earlier runs. Raises OptionsError."""
    prices = {model: options.prices.get(model) for model in options.models}
    unknown = [model for model in options.models if prices[model] is None]
    if options.cost_cap is not None and unknown:
        raise OptionsError(
            say(
                f"--max-cost needs the price of {unknown[0]}: give --price-in and --price-out, in dollars per "
                "million tokens (for a judge --judge-price-in and --judge-price-out).",
                f"使用 --max-cost 需要知道 {unknown[0]} 的价格：请给出 --price-in 和 --price-out"
                "（每百万 token 的美元数；评审模型用 --judge-price-in 和 --judge-price-out）。",
            )
        )
    budget = Budget(prices, options.cost_cap)
    for record in journal.records():
        if record.outcome != "refused":
            budget.add_earlier(record.model, record.prompt_tokens, record.completion_tokens, record.price)
    if options.cost_cap is not None and budget.unpriced:
        model = min(budget.unpriced)
        raise OptionsError(
            say(
                f"--max-cost counts earlier runs too, and {journal.path} contains requests to {model} whose price is "
                "not known. Choose another --out, or leave out --max-cost.",
                f"--max-cost 也计入之前的运行，而 {journal.path} 里有发给 {model} 的请求，其价格未知。"
                "请换一个 --out，或去掉 --max-cost。",
            )
        )
    return budget


async def generate_from_topics(
    client: openai.AsyncOpenAI,
    options: TeacherOptions,
    spec: TopicSpec,
    journal: Journal,
    *,
    progress: Progress,
    notify: Notify,
) -> GenerationResult:
    """Generates examples on topics.

    Raises:
        OptionsError: The cost cap cannot be enforced, since a price is unknown.
        RequestFailedError: The first request failed.
    """
    context = RunContext(client, options, journal, progress)
    run = None
    try:
        structured = await supports_structured_output(context.teacher, notify)
        lists = ListPrompter(context.teacher, structured, spec.temperature)
        judge = None
        if context.judge:
            judge = Judge(context.judge, await supports_structured_output(context.judge, notify), spec.plan.language)
        run = TopicRun(spec, context.teacher, lists, judge, context.on_examples)
        await run.run()
    except RunStoppedError as error:
        if run is None:
            raise error
    stopped = context.stopped
    report = {
        **topic_report(run),
        "stopped": None if stopped is None else str(stopped),
        **usage_report(context.teachers, journal),
    }
    if options.max_requests is not None:
        report["estimate"] = _measured_estimate(context, options, spec)
    return GenerationResult(run.examples(), [*run.counters.reject_lines(), *lists.reject_lines()], report, stopped)


def _measured_estimate(context: RunContext, options: TeacherOptions, spec: TopicSpec) -> dict[str, Any]:
    requests = expected_requests(spec, options.judge is not None)
    price, judge_price = options.prices.get(options.teacher), options.prices.get(options.judge or "")
    usage = {**context.teacher.usage, **({"judge": context.judge.usage["judge"]} if context.judge else {})}
    return {"requests": requests, **estimate(spec, requests, price, usage, judge_price)}


async def supports_structured_output(teacher: Teacher, notify: Notify) -> bool:
    """Whether the model supports JSON schemas; calls `notify` with a notice if it does not."""
    supported = await supports_json_schema(teacher)
    if not supported:
        notify(
            say(
                f"{teacher.model} does not support JSON schemas (response_format): numbered lines are requested "
                "instead, and any other text is dropped.",
                f"{teacher.model} 不支持 JSON schema 结构化输出（response_format）："
                "改为要求按编号逐行输出，其余文字丢弃。",
            )
        )
    return supported
