"""The results of one model on an evaluation set, as text and tool-call reports share them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from luthier.data.examples.tool_definitions import DefinitionDetail
from luthier.evaluation.cases import Case
from luthier.evaluation.sample_answers import Answer
from luthier.evaluation.statistics import Interval

MAX_FAILURES = 200  # in a report: enough to read, and an HTML page that still opens


@dataclass(frozen=True)
class ModelRun:
    """One model with one way of sending definitions.

    `scores`: metrics case by case, for paired comparisons; `loss_tokens`: the trained tokens of each case, equal for
    models that share a tokenizer; `not_available`: metrics that the service does not provide, with the reason.
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
    """Tokens and latency: mean, median and 95th percentile."""
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
    """Expected label -> predicted label -> cases; "" is no call or no known label."""
    matrix: dict[str, dict[str, int]] = {}
    for expected, predicted in labels:
        row = matrix.setdefault(expected, {})
        row[predicted] = row.get(predicted, 0) + 1
    return matrix


def last_message_text(case: Case) -> str:
    """The text of the last message with content; "" when its content is not a string."""
    contents = [message.get("content") for message in case.messages if message.get("content")]
    return contents[-1] if contents and isinstance(contents[-1], str) else ""
