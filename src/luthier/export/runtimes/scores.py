"""The scores that a runtime computes for one parity sample."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Two arrays [targets]: each target's log-probability in nats, and whether it is the most likely token."""

    logprobs: np.ndarray
    is_top: np.ndarray
