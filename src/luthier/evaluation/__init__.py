"""Graders, function-call scores, comparisons with confidence, reports."""

from luthier.evaluation.run import evaluate

__all__ = ["evaluate"]
