"""How likely a model finds the right answers: loss and token accuracy on the tokens that training would train.

Under OpenAI's names, with their meaning: `full_valid_…` is of a whole validation file, `valid_…` of a part of one.
Knows nothing about how a token's probability is found.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from luthier.evaluation.statistics import Interval, bootstrap
from luthier.types.errors import LuthierError
from luthier.types.evaluations import ExampleLoss


class NotOfferedError(LuthierError):
    """The service tells no loss of given texts."""


def names(*, whole: bool) -> tuple[str, str]:
    """(loss, token accuracy) as OpenAI calls them."""
    prefix = "full_valid" if whole else "valid"
    return f"{prefix}_loss", f"{prefix}_mean_token_accuracy"


def figures(found: Sequence[ExampleLoss], *, whole: bool) -> tuple[dict[str, Interval], dict[str, list[float]]]:
    """The figures, sums over sums and never means of means; and each example's share, whose mean is the figure.

    Empty where nothing was trained. `n` is examples: tokens of one answer hang together.
    """
    sums = np.array([(one.loss, one.weight, one.correct_tokens, one.tokens) for one in found], dtype=float)
    made: dict[str, Interval] = {}
    scores: dict[str, list[float]] = {}
    for column, name in zip((0, 2), names(whole=whole), strict=True):
        parts, wholes = (sums[:, column], sums[:, column + 1]) if len(sums) else (sums, sums)
        if wholes.sum():
            made[name] = bootstrap(partial(_ratio, parts, wholes), len(sums))
            scores[name] = (parts * len(sums) / wholes.sum()).tolist()
    return made, scores


def _ratio(parts: np.ndarray, wholes: np.ndarray, chosen: np.ndarray) -> float:
    return float(parts[chosen].sum() / wholes[chosen].sum()) if wholes[chosen].sum() else math.nan
