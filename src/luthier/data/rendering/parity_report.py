"""Compares the log-probabilities that another runtime computes with the trainer's, sample by sample.

Both compute with the same weights, so rounding must be the only difference. How much rounding there is depends on the
tokens: the log-probabilities of unlikely ones are rounded most. So both also score the base model without the adapter,
as a reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.data.rendering.parity_samples import ParitySample

# The largest accepted mean difference of log-probabilities, in nats. On likely tokens, rounding in bfloat16 stays under
# a twentieth of it; an adapter that is left out or scaled by two is far above it. float32 hardly rounds at all.
MAX_MEAN_DIFFERENCE = {"bfloat16": 0.1, "float32": 0.005}
# If larger, the limit is this multiple of the base model's own difference on the same tokens, which itself counts only
# up to the limit above.
_MAX_TIMES_BASE = 3.0
# The served effect of the adapter may differ from 1 by this much plus three of its standard errors (from rounding).
_MAX_EFFECT_ERROR, _STANDARD_ERRORS = 0.25, 3.0


@dataclass(frozen=True)
class ParityReport:
    """The comparison of a trained with a served model.

    Attributes:
        mean_difference: The mean absolute difference of log-probabilities, in nats.
        tokens: The number of compared tokens.
        examples: The number of compared samples.
        top_differs: The number of targets that are the likeliest token on one side only.
        base_difference: `mean_difference` without the adapter; None for a complete model.
        effect: The served share of what the adapter changes, by a least-squares fit: 1 is exact. None for a complete
            model.
        effect_error: The standard error of `effect`.
        eight_bits: Whether the base model's weights are served in 8 bits, which rounds as much as bfloat16.
    """

    mean_difference: float
    tokens: int
    examples: int
    top_differs: int
    base_difference: float | None = None
    effect: float | None = None
    effect_error: float | None = None
    eight_bits: bool = False

    def summary(self) -> str:
        measured = f"mean difference {self.mean_difference:.4f} over {self.tokens} tokens of {self.examples} examples"
        summary = f"{measured}, {self.top_differs} most likely tokens differ"
        if self.base_difference is not None:
            summary += f"; without the adapter {self.base_difference:.4f}"
        if self.effect is not None:
            summary += f"; effect of the adapter {100 * self.effect:.0f} %"
        return summary

    def failure(self, precision: str) -> str | None:
        """Why the served model is not the trained one; None if it is."""
        limit = MAX_MEAN_DIFFERENCE["bfloat16" if self.eight_bits else precision]
        limit = max(limit, _MAX_TIMES_BASE * min(limit, self.base_difference or 0.0))
        if not self.mean_difference <= limit:
            return f"rounding is at most {limit:.3g}"
        if self.effect is not None and self.effect_error is not None:
            tolerance = _MAX_EFFECT_ERROR + _STANDARD_ERRORS * self.effect_error
            if not abs(self.effect - 1) <= tolerance:
                return f"rounding changes at most {100 * tolerance:.0f} % of the effect"
        return None


@dataclass(frozen=True)
class Comparison:
    """One sample and what serving computes for its targets, as arrays [targets]: log-probabilities in nats, whether the
    target is the likeliest token, and the log-probabilities without the adapter (None for a complete model).
    """

    sample: ParitySample
    logprobs: np.ndarray
    is_top: np.ndarray
    base_logprobs: np.ndarray | None

    @property
    def gaps(self) -> np.ndarray:
        return np.asarray(np.abs(self.logprobs - np.array(self.sample.logprobs)))

    @property
    def is_exact(self) -> bool:
        """Whether greedy decoding gives the example's answer, because each of its tokens is the likeliest."""
        return bool(self.is_top.all())

    @property
    def top_differs(self) -> int:
        return int((np.array(self.sample.likeliest) != self.is_top).sum())


def compare(compared: Sequence[Comparison]) -> ParityReport:
    gaps = np.concatenate([comparison.gaps for comparison in compared])
    top_differs = sum(comparison.top_differs for comparison in compared)
    counts = float(gaps.mean()), len(gaps), len(compared), top_differs
    bases = [comparison.base_logprobs for comparison in compared if comparison.base_logprobs is not None]
    if len(bases) < len(compared):
        return ParityReport(*counts)
    trained, trained_base, served, served_base = (
        np.concatenate(arrays)
        for arrays in (
            [comparison.sample.logprobs for comparison in compared],
            [comparison.sample.base_logprobs for comparison in compared],
            [comparison.logprobs for comparison in compared],
            bases,
        )
    )
    effect = _fitted_effect(trained - trained_base, served - served_base)
    return ParityReport(*counts, float(np.abs(served_base - trained_base).mean()), *effect)


def _fitted_effect(trained: np.ndarray, served: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """The slope of `served` = slope x `trained` (arrays [targets]) and its standard error; None if the adapter has no
    effect.
    """
    energy = float((trained**2).sum())
    if energy == 0 or len(trained) < 2:
        return None, None
    slope = float((trained * served).sum()) / energy
    residual = served - slope * trained
    return slope, float(np.sqrt((residual**2).sum() / (len(trained) - 1) / energy))
