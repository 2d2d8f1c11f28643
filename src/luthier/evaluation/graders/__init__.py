"""Graders: from a model's sample and a data item to a reward.

Each grader type is a plugin of the group `luthier.graders` (see `grader_type`). Access to models and embeddings comes
from the caller, in a `GraderContext`.
"""

from luthier.evaluation.graders.context import GraderContext, ModelReply, ModelRequest
from luthier.evaluation.graders.failures import GraderFailure
from luthier.evaluation.graders.run import grade, run_grader
from luthier.evaluation.graders.sandbox import SandboxUnavailableError
from luthier.evaluation.graders.templates import Sample
from luthier.evaluation.graders.validation import sub_graders, validate_grader

__all__ = [
    "GraderContext",
    "GraderFailure",
    "ModelReply",
    "ModelRequest",
    "Sample",
    "SandboxUnavailableError",
    "grade",
    "run_grader",
    "sub_graders",
    "validate_grader",
]
