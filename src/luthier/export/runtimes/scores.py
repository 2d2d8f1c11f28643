"""The scores of one parity sample in a runtime."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Arrays [targets] at the targets of a sample: natural log-probabilities, and whether the target is the most
    likely token."""

    logprobs: np.ndarray
    is_top: np.ndarray
