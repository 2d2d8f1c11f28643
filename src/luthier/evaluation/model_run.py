"""The results of one model on an evaluation set, in the form that text and tool-call reports share."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from luthier.data.examples.tool_definitions import DefinitionDetail
from luthier.evaluation.cases import Case
from luthier.evaluation.sample_answers import Answer
from luthier.evaluation.statistics import Interval

MAX_FAILURES = 200  # in a report; enough to read, and few enough for an HTML page to open


@dataclass(frozen=True)
class ModelRun:
    """The results of one model with one detail of definitions.

    Attributes:
        model: Its name.
        definitions: The detail of the definitions that it was sent.
        metrics: Each metric with its interval.
        scores: Each metric case by case, for paired comparisons.
        schema_errors: The number of schema violations of its calls, by kind.
        confusion: See `confusion_matrix`.
        efficiency: See `efficiency`.
        failures: Rows for the JSON report.
        loss_tokens: The number of trained tokens of each case; equal for models that share a tokenizer.
        not_available: The reason for each metric that the service does not provide.
    """

    model: str
    definitions: DefinitionDetail
    metrics: dict[str, Interval]
    scores: dict[str, list[float]]
    schema_errors: dict[str, int] = field(default_factory=dict)
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)
    efficiency: dict[str, float] = field(default_factory=dict)
    failures: list[dict[str, object]] = field(default_factory=list)
    loss_tokens: list[int] = field(default_factory=list)
    not_available: dict[str, str] = field(default_factory=dict)


def efficiency(answers: Sequence[Answer]) -> dict[str, float]:
    """Prompt and completion tokens, and the latency in seconds: totals, means, medians and 95th percentiles."""
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


def confusion_matrix(labels: Sequence[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Expected label → predicted label → number of cases. The label "" stands for no call or no known label."""
    matrix: dict[str, dict[str, int]] = {}
    for expected, predicted in labels:
        row = matrix.setdefault(expected, {})
        row[predicted] = row.get(predicted, 0) + 1
    return matrix


def last_message_text(case: Case) -> str:
    """The text of the last message with content; "" if there is none, or if its content is not a string."""
    contents = [message.get("content") for message in case.messages if message.get("content")]
    return contents[-1] if contents and isinstance(contents[-1], str) else ""
