"""Graders: an item and a model's sample in, a reward out. Knows nothing about HTTP; a callable asks models."""

from luthier.evaluation.graders.check import check, parts
from luthier.evaluation.graders.failures import GraderFailure
from luthier.evaluation.graders.run import Asked, Reply, Tools, grade
from luthier.evaluation.graders.sandbox import SandboxUnavailableError
from luthier.evaluation.graders.templates import Sample

__all__ = ["Asked", "GraderFailure", "Reply", "Sample", "SandboxUnavailableError", "Tools", "check", "grade", "parts"]
