"""Sampling, without torch."""

import numpy as np
import pytest

from luthier.inference import SamplingParams
from luthier.inference.scheduling.sampler import sample_token


@pytest.mark.parametrize(
    ("params", "counts", "expected"),
    [
        ({}, {}, 2),
        ({"logit_bias": {0: 10.0}}, {}, 0),
        ({"logit_bias": {2: -100.0}}, {}, 1),
        ({"presence_penalty": 2.0}, {2: 1}, 1),
        ({"frequency_penalty": 0.5}, {2: 1}, 2),
        ({"frequency_penalty": 0.5}, {2: 4}, 1),
    ],
)
def test_bias_and_penalties(params: dict, counts: dict, expected: int) -> None:
    logits = np.array([0.0, 2.0, 3.0, -1.0], np.float32)
    assert (
        sample_token(
            logits, SamplingParams(4, frozenset(), **{"temperature": 0.0, **params}), counts, np.random.default_rng()
        ).id
        == expected
    )


def test_top_p_keeps_the_nucleus() -> None:
    """Probabilities 0.64, 0.24, 0.09, 0.03: two tokens reach 0.7, the first alone reaches 0.5."""
    logits = np.array([3.0, 2.0, 1.0, 0.0], np.float32)
    random = np.random.default_rng(0)
    for top_p, allowed in [(0.5, {0}), (0.7, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3}), (0.0, {0})]:
        drawn = {
            sample_token(logits, SamplingParams(4, frozenset(), temperature=1.0, top_p=top_p), {}, random).id
            for _ in range(400)
        }
        assert drawn == allowed
