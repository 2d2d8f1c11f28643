"""What a runtime computes of one parity sample."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """At the targets of a sample, arrays [targets]: natural log-probabilities, and whether no token is likelier."""

    logprobs: np.ndarray
    is_top: np.ndarray
