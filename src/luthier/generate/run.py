"""A run from beginning to end: teacher and judge on one journal, one budget and one set of limits.

Everything that a command decides comes in as `Ways` and `Wish`; what it may show comes out through two functions.
Knows no terminal and writes no file but the journal.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import openai

from luthier.generate.budget import Budget, Price
from luthier.generate.cost_forecast import estimate, expected_requests
from luthier.generate.errors import OptionsError, StopError
from luthier.generate.journal import Journal
from luthier.generate.judge import Judge
from luthier.generate.limits import Limits
from luthier.generate.list_prompts import Lists, takes_schema
from luthier.generate.report import topics_report, usage_report
from luthier.generate.teacher import Teacher
from luthier.generate.topics import TopicsRun, Wish
from luthier.language import say

Told = Callable[[str], None]
Progress = Callable[[int, int, float], None]  # examples made, replies so far, dollars so far


@dataclass(frozen=True)
class Ways:
    """Who is asked and how hard. `prices` by model; None where unknown. `most_requests` ends a probing run."""

    teacher: str
    judge: str | None = None
    prices: Mapping[str, Price | None] = field(default_factory=dict)
    cap: float | None = None
    concurrency: int = 4
    requests_per_minute: float | None = None
    tokens_per_minute: int | None = None
    most_failures: int = 10
    most_requests: int | None = None


@dataclass
class Outcome:
    """`stopped`: why the run ended before all was made, in a sentence; None when it came to its end."""

    examples: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    report: dict[str, Any]
    stopped: StopError | None = None


class Staff:
    """Teacher and judge of one run, with what they share."""

    def __init__(self, client: openai.AsyncOpenAI, ways: Ways, journal: Journal, progress: Progress) -> None:
        """Raises OptionsError for a cap on a model whose price nobody knows, also one that an earlier run asked."""
        models = [ways.teacher] + ([ways.judge] if ways.judge else [])
        prices = {model: ways.prices.get(model) for model in models}
        if ways.cap is not None and (unknown := [model for model in models if prices[model] is None]):
            raise OptionsError(
                say(
                    f"--max-cost needs the price of {unknown[0]}: give --price-in and --price-out, in dollars per "
                    "million tokens (for a judge --judge-price-in and --judge-price-out).",
                    f"使用 --max-cost 需要知道 {unknown[0]} 的价格：请给出 --price-in 和 --price-out"
                    "（每百万 token 的美元数；评审模型用 --judge-price-in 和 --judge-price-out）。",
                )
            )
        self.journal, self.budget = journal, Budget(prices, ways.cap)
        for entry in journal.entries():
            if entry.outcome != "refused":
                self.budget.add_earlier(entry.model, entry.prompt_tokens, entry.completion_tokens, entry.price)
        if ways.cap is not None and self.budget.unpriced:
            raise _unpriced(min(self.budget.unpriced), journal)
        self._progress, self.made, self._replies = progress, 0, 0
        limits = Limits(ways.concurrency, ways.requests_per_minute, ways.tokens_per_minute)
        self.all = [
            Teacher(
                client,
                model,
                journal,
                self.budget,
                limits,
                most_failures=ways.most_failures,
                most_requests=ways.most_requests,
                on_reply=self._replied,
            )
            for model in models
        ]
        self.teacher, self.judge = self.all[0], self.all[1] if ways.judge else None

    def _replied(self) -> None:
        self._replies += 1
        self._progress(self.made, self._replies, self.budget.spent)

    def on_made(self, made: int) -> None:
        self.made = made
        self._progress(made, self._replies, self.budget.spent)

    @property
    def stopped(self) -> StopError | None:
        return next((teacher.stopped for teacher in self.all if teacher.stopped), None)


def _unpriced(model: str, journal: Journal) -> OptionsError:
    return OptionsError(
        say(
            f"--max-cost counts earlier runs too, and {journal.path} holds requests to {model} whose price is not "
            "known. Choose another --out, or leave --max-cost out.",
            f"--max-cost 也计入之前的运行，而 {journal.path} 里有发给 {model} 的请求，其价格未知。"
            "请换一个 --out，或去掉 --max-cost。",
        )
    )


async def make_topics(
    client: openai.AsyncOpenAI, ways: Ways, wish: Wish, journal: Journal, *, progress: Progress, told: Told
) -> Outcome:
    """Examples on topics. Raises OptionsError, and AskError when not even the first request comes back."""
    staff = Staff(client, ways, journal, progress)
    run = None
    try:
        lists = Lists(staff.teacher, await structured(staff.teacher, told), wish.temperature)
        judge = None
        if staff.judge:
            judge = Judge(staff.judge, await structured(staff.judge, told), wish.plan.language)
        run = TopicsRun(wish, staff.teacher, lists, judge, staff.on_made)
        await run.run()
    except StopError as error:
        if run is None:
            raise error
    made = topics_report(run)
    stopped = staff.stopped
    report = {**made, "stopped": None if stopped is None else str(stopped), **usage_report(staff.all, journal)}
    if ways.most_requests is not None:
        requests = expected_requests(wish, judge is not None)
        price, judge_price = ways.prices.get(ways.teacher), ways.prices.get(ways.judge or "")
        usage = {**staff.teacher.usage, **({"judge": staff.judge.usage["judge"]} if staff.judge else {})}
        report["estimate"] = {"requests": requests, **estimate(wish, requests, price, usage, judge_price)}
    return Outcome(run.examples(), run.tally.reject_lines(), report, stopped)


async def structured(teacher: Teacher, told: Told) -> bool:
    """Whether it takes a JSON schema; what follows from it not doing so is told."""
    taken = await takes_schema(teacher)
    if not taken:
        told(
            say(
                f"{teacher.model} does not answer by a JSON schema (response_format); it is asked for numbered lines "
                "instead, and what is not such a line is dropped.",
                f"{teacher.model} 不支持 JSON schema 结构化输出（response_format）："
                "改为要求按编号逐行输出，其余文字丢弃。",
            )
        )
    return taken
