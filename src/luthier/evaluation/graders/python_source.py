"""`python`: runs the grader's own source in a sandbox."""

from typing import Any

from luthier.evaluation.graders.context import GraderContext
from luthier.evaluation.graders.grader_type import GraderType
from luthier.evaluation.graders.sandbox import SandboxUnavailableError, run_source
from luthier.evaluation.graders.templates import Sample
from luthier.types.graders import Python


class PythonGrader(GraderType[Python]):
    request = Python

    def reward(self, grader: Python, sample: Sample, data_item: dict[str, Any], context: GraderContext) -> float:
        """The reward. Raises SandboxUnavailableError if Python graders are disabled or cannot be isolated."""
        if context.python is None:
            raise SandboxUnavailableError("Python graders are disabled here.")
        return run_source(grader.source, sample.namespace, data_item, context.python)
