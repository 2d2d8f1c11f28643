"""Metrics with intervals for the tool calls of one model run.

Definitions of the metrics: docs/evaluation.md. Every metric has the number of cases that it is based on; a metric
without any cases is omitted, never zero.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from luthier.data.examples.tool_definitions import DefinitionDetail, FunctionSchemas
from luthier.evaluation.cases import Case
from luthier.evaluation.model_run import MAX_FAILURES, ModelRun, confusion_matrix, efficiency, last_message_text
from luthier.evaluation.sample_answers import Answer
from luthier.evaluation.statistics import NO_CASES, Interval, bootstrap_interval, proportion
from luthier.evaluation.tool_call_match import Overlap, ToolCallScore, score_tool_calls

HEADLINE = "call_exact"
Metric = Callable[[Sequence[ToolCallScore]], Interval]
Condition = Callable[[ToolCallScore], bool]
Count = Callable[[ToolCallScore], int]


def summarize_tool_calls(
    model: str,
    definitions_sent: DefinitionDetail,
    cases: Sequence[Case],
    answers: Sequence[Answer],
    definitions: FunctionSchemas | None,
) -> ModelRun:
    """The metrics of one run. Without `definitions`, the metrics that need a schema are omitted."""
    scores = [
        score_tool_calls(case.expected_calls, answer.calls, answer.content, definitions)
        for case, answer in zip(cases, answers, strict=True)
    ]
    metrics = {name: metric(scores) for name, metric in _METRICS.items() if definitions or name not in _NEED_SCHEMAS}
    return ModelRun(
        model,
        definitions_sent,
        {name: interval for name, interval in metrics.items() if interval.n},
        {HEADLINE: [float(score.exact) for score in scores]},
        dict(sum((score.schema_errors for score in scores), Counter[str]()).most_common()),
        confusion_matrix([score.confusion for score in scores]),
        efficiency(answers),
        _failures(cases, answers, scores),
    )


def _rate(condition: Condition, among: Condition = lambda _: True) -> Metric:
    """A metric: the proportion of answers that meet `condition`, among those that meet `among`."""

    def metric(scores: Sequence[ToolCallScore]) -> Interval:
        selected = [score for score in scores if among(score)]
        return proportion(sum(map(condition, selected)), len(selected))

    return metric


def _ratio_of_counts(part: Count, whole: Count) -> Metric:
    """A metric: the share of calls or arguments. Its interval resamples cases, because the calls of one answer are not
    independent.
    """

    def metric(scores: Sequence[ToolCallScore]) -> Interval:
        parts, wholes = np.array(list(map(part, scores))), np.array(list(map(whole, scores)))
        if not wholes.sum():
            return NO_CASES
        if parts.sum() in (0, wholes.sum()):  # every resample would give the same value, so there would be no interval
            return proportion(int(parts.sum()), int(wholes.sum()))
        interval = bootstrap_interval(lambda sample: _ratio(parts[sample].sum(), wholes[sample].sum()), len(scores))
        return Interval(interval.value, interval.low, interval.high, int(wholes.sum()))

    return metric


def _f1(overlap: Callable[[ToolCallScore], Overlap]) -> Metric:
    def metric(scores: Sequence[ToolCallScore]) -> Interval:
        counts = np.array([(sizes.common, sizes.predicted, sizes.expected) for sizes in map(overlap, scores)])
        if not len(counts) or not counts[:, 2].sum():
            return NO_CASES

        def f1(sample: np.ndarray) -> float:
            common, predicted, expected = counts[sample].sum(axis=0)
            return _ratio(2 * common, predicted + expected)

        interval = bootstrap_interval(f1, len(scores))
        return Interval(interval.value, interval.low, interval.high, int(counts[:, 2].sum()))

    return metric


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _exact(score: ToolCallScore) -> bool:
    return score.exact


def _lenient(score: ToolCallScore) -> bool:
    return score.lenient


def _has_call(score: ToolCallScore) -> bool:
    return score.has_call


def _expects_call(score: ToolCallScore) -> bool:
    return score.expects_call


def _expected_names(score: ToolCallScore) -> bool:
    return score.expects_call and score.names_match


def _calls(score: ToolCallScore) -> int:
    return score.validity.calls


_METRICS: dict[str, Metric] = {
    "call_exact": _rate(_exact),
    "call_match": _rate(_lenient),
    "call_exact_of_calls": _rate(_exact, _expects_call),
    "decision_accuracy": _rate(lambda score: score.expects_call == score.has_call),
    "call_precision": _rate(_expects_call, _has_call),
    "call_recall": _rate(_has_call, _expects_call),
    "irrelevance_accuracy": _rate(lambda score: not score.has_call, lambda score: not score.expects_call),
    "name_accuracy": _rate(lambda score: score.names_match, _expects_call),
    "name_f1": _f1(lambda score: score.name_overlap),
    "arguments_exact": _rate(_exact, _expected_names),
    "arguments_match": _rate(_lenient, _expected_names),
    "argument_f1": _f1(lambda score: score.argument_overlap),
    "json_valid": _ratio_of_counts(lambda score: score.validity.valid_json, _calls),
    "schema_valid": _ratio_of_counts(lambda score: score.validity.valid_schema, _calls),
    "unknown_function_rate": _ratio_of_counts(lambda score: score.validity.unknown_functions, _calls),
    "unknown_argument_rate": _ratio_of_counts(
        lambda score: score.validity.unknown_arguments, lambda score: score.validity.arguments
    ),
    "unparsed_call_rate": _rate(lambda score: score.unparsed),
}
_NEED_SCHEMAS = ("schema_valid", "unknown_function_rate", "unknown_argument_rate")


def _failures(
    cases: Sequence[Case], answers: Sequence[Answer], scores: Sequence[ToolCallScore]
) -> list[dict[str, object]]:
    """The first answers that are not exactly correct, as rows of the JSON report."""
    failures: list[dict[str, object]] = []
    for case, answer, score in zip(cases, answers, scores, strict=True):
        if score.exact or len(failures) == MAX_FAILURES:
            continue
        expected = [{"name": call.name, "arguments": call.arguments} for call in case.expected_calls]
        predicted = [{"name": call.name, "arguments": call.text} for call in answer.calls]
        failures.append(
            {
                "line": case.line,
                "asked": last_message_text(case),
                "wanted": expected or case.reference,
                "said": predicted or answer.content,
                "faults": dict(score.schema_errors),
            }
        )
    return failures
