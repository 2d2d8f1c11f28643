"""Graders, scores of function calls and texts, paired comparisons with confidence intervals, and reports."""

from luthier.evaluation.run import evaluate

__all__ = ["evaluate"]
