"""Compares the log-probabilities that another runtime computes with the trainer's, sample by sample.

Both compute with the same weights, so the difference is rounding and nothing else. How much rounding there is depends
on the tokens: unlikely ones are rounded most. So the base model, which no adapter can disturb, is scored by both too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.data.rendering.parity_samples import ParitySample

# Mean difference of log-probabilities, in nats. Rounding in bfloat16 stays under a twentieth of it where tokens are
# likely; an adapter that is left out or scaled by two lies far above. float32 leaves hardly anything to round.
MAX_MEAN_DIFFERENCE = {"bfloat16": 0.1, "float32": 0.005}
# Or this many times the difference that the base alone shows on the same tokens, itself at most the above.
_MAX_TIMES_BASE = 3.0
# The adapter's effect as it is served is within this of the whole, and three standard errors: those of rounding.
_MAX_EFFECT_ERROR, _STANDARD_ERRORS = 0.25, 3.0


@dataclass(frozen=True)
class ParityReport:
    """`mean_difference` of log-probabilities, in nats; `top_differs`: targets that are likeliest on one side only.

    With an adapter: `base_difference`, the mean difference without it; `effect`: the part of what the adapter changes
    that is served, a least-squares fit, and its standard error. They are None for a complete model. `eight_bits`: the
    base's weights are served in 8 bits, which rounds as bfloat16 does.
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
    """Of one sample: what serving computes at its targets. Arrays [targets]; `base_logprobs` without the adapter."""

    sample: ParitySample
    logprobs: np.ndarray
    is_top: np.ndarray
    base_logprobs: np.ndarray | None

    @property
    def gaps(self) -> np.ndarray:
        return np.asarray(np.abs(self.logprobs - np.array(self.sample.logprobs)))

    @property
    def is_exact(self) -> bool:
        """Whether greedy decoding gives the answer of the example: each of its tokens is the likeliest."""
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
    """The slope of `served` = slope x `trained`, arrays [targets], and its standard error; None without an effect."""
    energy = float((trained**2).sum())
    if energy == 0 or len(trained) < 2:
        return None, None
    slope = float((trained * served).sum()) / energy
    residual = served - slope * trained
    return slope, float(np.sqrt((residual**2).sum() / (len(trained) - 1) / energy))
