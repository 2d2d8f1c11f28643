"""Teacher-forced loss and token accuracy of a model on reference answers, over the tokens that training trains on.

Metric names and meanings are OpenAI's: `full_valid_…` covers a whole validation file, `valid_…` a part of it.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from luthier.evaluation.statistics import Interval, bootstrap_interval
from luthier.types.errors import LuthierError
from luthier.types.evaluations import ExampleLoss


class LossesNotAvailableError(LuthierError):
    """The service does not compute the loss of texts that a client supplies."""


def loss_metric_names(*, complete: bool) -> tuple[str, str]:
    """The names of (loss, token accuracy). `complete`: whether they cover all examples of their file."""
    prefix = "full_valid" if complete else "valid"
    return f"{prefix}_loss", f"{prefix}_mean_token_accuracy"


def loss_metrics(
    losses: Sequence[ExampleLoss], *, complete: bool
) -> tuple[dict[str, Interval], dict[str, list[float]]]:
    """(loss in nats and token accuracy, the contributions of each example, whose mean is the metric).

    The metrics are ratios of sums over all examples, not means of per-example means. A metric without trained tokens is
    left out. `n` counts examples, because the tokens of one answer are not independent.
    """
    sums = np.array([(loss.loss, loss.weight, loss.correct_tokens, loss.tokens) for loss in losses], dtype=float)
    metrics: dict[str, Interval] = {}
    scores: dict[str, list[float]] = {}
    for column, name in zip((0, 2), loss_metric_names(complete=complete), strict=True):
        parts, wholes = (sums[:, column], sums[:, column + 1]) if len(sums) else (sums, sums)
        if wholes.sum():
            metrics[name] = bootstrap_interval(partial(_ratio, parts, wholes), len(sums))
            scores[name] = (parts * len(sums) / wholes.sum()).tolist()
    return metrics, scores


def _ratio(parts: np.ndarray, wholes: np.ndarray, sample: np.ndarray) -> float:
    return float(parts[sample].sum() / wholes[sample].sum()) if wholes[sample].sum() else math.nan
