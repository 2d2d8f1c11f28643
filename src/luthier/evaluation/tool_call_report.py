"""The report card of a model's calls: questions and answers of one run in, named figures with intervals out.

Definitions of the figures: docs/evaluation.md. Every figure says how many cases it was taken from; one without any
is left out, never zero.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from luthier.data.examples.tool_definitions import Definitions, Shown
from luthier.evaluation.cases import Case
from luthier.evaluation.sample_answers import Answer
from luthier.evaluation.statistics import Interval, bootstrap, rate
from luthier.evaluation.tool_call_match import Verdict, judge

HEADLINE = "call_exact"
MOST_FAILURES = 200  # kept in a report: enough to read, and a page that still opens


@dataclass(frozen=True)
class Run:
    """One model with one way of showing definitions.

    `scores`: figures case by case, for pairing; `loss_tokens`: of how many tokens each case's loss is, which tells
    models that cut text alike; `not_available`: figures that its service does not give, and why.
    """

    model: str
    shown: Shown
    figures: dict[str, Interval]
    scores: dict[str, list[float]]
    faults: dict[str, int] = field(default_factory=dict)
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)
    efficiency: dict[str, float] = field(default_factory=dict)
    failures: list[dict[str, object]] = field(default_factory=list)
    loss_tokens: list[int] = field(default_factory=list)
    not_available: dict[str, str] = field(default_factory=dict)


def card(
    model: str, shown: Shown, asked: Sequence[Case], answers: Sequence[Answer], definitions: Definitions | None
) -> Run:
    """The figures of one run. Without `definitions` those that need a schema are left out."""
    verdicts = [
        judge(case.wanted, answer.calls, answer.content, definitions)
        for case, answer in zip(asked, answers, strict=True)
    ]
    made = {name: figure(verdicts) for name, figure in _FIGURES.items() if definitions or name not in _NEED_SCHEMAS}
    faults = sum((verdict.faults for verdict in verdicts), Counter[str]())
    return Run(
        model,
        shown,
        {name: interval for name, interval in made.items() if interval.n},
        {HEADLINE: [float(verdict.exact) for verdict in verdicts]},
        dict(faults.most_common()),
        _confusion(verdicts),
        efficiency(answers),
        _failures(asked, answers, verdicts),
    )


def efficiency(answers: Sequence[Answer]) -> dict[str, float]:
    """Tokens and seconds: mean, median and 95th percentile."""
    if not answers:
        return {}
    prompt = np.array([answer.prompt_tokens for answer in answers])
    latency = np.array([answer.latency_s for answer in answers])
    return {
        "prompt_tokens": int(prompt.sum()),
        "prompt_tokens_mean": float(prompt.mean()),
        "prompt_tokens_p95": float(np.quantile(prompt, 0.95)),
        "completion_tokens": int(sum(answer.completion_tokens for answer in answers)),
        "latency_s_p50": float(np.quantile(latency, 0.5)),
        "latency_s_p95": float(np.quantile(latency, 0.95)),
    }


Figure = Callable[[Sequence[Verdict]], Interval]


def _share(hit: Callable[[Verdict], bool], among: Callable[[Verdict], bool] = lambda _: True) -> Figure:
    def figure(verdicts: Sequence[Verdict]) -> Interval:
        chosen = [verdict for verdict in verdicts if among(verdict)]
        return rate(sum(map(hit, chosen)), len(chosen))

    return figure


def _of_calls(part: str, whole: str) -> Figure:
    """A share of calls or arguments; the interval resamples cases, since calls of one answer hang together."""

    def figure(verdicts: Sequence[Verdict]) -> Interval:
        parts = np.array([getattr(verdict, part) for verdict in verdicts])
        wholes = np.array([getattr(verdict, whole) for verdict in verdicts])
        if not wholes.sum():
            return Interval(math.nan, math.nan, math.nan, 0)
        if parts.sum() in (0, wholes.sum()):  # resampled, none or all of them stay none or all, which is no interval
            return rate(int(parts.sum()), int(wholes.sum()))
        found = bootstrap(lambda chosen: _ratio(parts[chosen].sum(), wholes[chosen].sum()), len(verdicts))
        return Interval(found.value, found.low, found.high, int(wholes.sum()))

    return figure


def _f1(found: str, said: str, wanted: str) -> Figure:
    def figure(verdicts: Sequence[Verdict]) -> Interval:
        counts = np.array([[getattr(verdict, name) for name in (found, said, wanted)] for verdict in verdicts])
        if not len(counts) or not counts[:, 2].sum():
            return Interval(math.nan, math.nan, math.nan, 0)

        def score(chosen: np.ndarray) -> float:
            hits, predicted, expected = counts[chosen].sum(axis=0)
            return _ratio(2 * hits, predicted + expected)

        made = bootstrap(score, len(verdicts))
        return Interval(made.value, made.low, made.high, int(counts[:, 2].sum()))

    return figure


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


_FIGURES: dict[str, Figure] = {
    "call_exact": _share(lambda one: one.exact),
    "call_match": _share(lambda one: one.match),
    "call_exact_of_calls": _share(lambda one: one.exact, lambda one: one.wanted_call),
    "decision_accuracy": _share(lambda one: one.wanted_call == one.called),
    "call_precision": _share(lambda one: one.wanted_call, lambda one: one.called),
    "call_recall": _share(lambda one: one.called, lambda one: one.wanted_call),
    "irrelevance_accuracy": _share(lambda one: not one.called, lambda one: not one.wanted_call),
    "name_accuracy": _share(lambda one: one.names_right, lambda one: one.wanted_call),
    "name_f1": _f1("names_found", "names_said", "names_wanted"),
    "arguments_exact": _share(lambda one: one.arguments_exact, lambda one: one.wanted_call and one.names_right),
    "arguments_match": _share(lambda one: one.arguments_match, lambda one: one.wanted_call and one.names_right),
    "argument_f1": _f1("found", "said", "wanted"),
    "json_valid": _of_calls("json_valid", "calls"),
    "schema_valid": _of_calls("schema_valid", "calls"),
    "unknown_function_rate": _of_calls("unknown_functions", "calls"),
    "unknown_argument_rate": _of_calls("unknown_arguments", "arguments"),
    "unparsed_call_rate": _share(lambda one: one.unparsed),
}
_NEED_SCHEMAS = ("schema_valid", "unknown_function_rate", "unknown_argument_rate")


def _confusion(verdicts: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """Wanted function → said function → cases; "" stands for no call."""
    counts: dict[str, dict[str, int]] = {}
    for verdict in verdicts:
        wanted, said = verdict.confusion
        row = counts.setdefault(wanted, {})
        row[said] = row.get(said, 0) + 1
    return counts


def _failures(asked: Sequence[Case], answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    failed: list[dict[str, object]] = []
    for case, answer, verdict in zip(asked, answers, verdicts, strict=True):
        if verdict.exact or len(failed) == MOST_FAILURES:
            continue
        wanted = [{"name": one.name, "arguments": one.arguments} for one in case.wanted]
        said = [{"name": one.name, "arguments": one.text} for one in answer.calls]
        failed.append(
            {
                "line": case.line,
                "asked": last_words(case),
                "wanted": wanted or case.text,
                "said": said or answer.content,
                "faults": dict(verdict.faults),
            }
        )
    return failed


def last_words(case: Case) -> str:
    """What the model was asked last."""
    said = [message.get("content") for message in case.messages if message.get("content")]
    return said[-1] if said and isinstance(said[-1], str) else ""
