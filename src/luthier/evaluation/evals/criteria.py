"""One criterion of an eval: scores an answer and decides whether it passes."""

from typing import Any

from luthier.evaluation.graders import GraderContext, ModelReply, Sample, run_grader
from luthier.types.evals import EvalError, Grade, ModelUsage, usage_by_model
from luthier.types.graders import SubGrader

_FAULTS_OF_ANSWER = {"sample_parse_error"}  # any other flag means that the grader failed, not the answer


def grade_criterion(criterion: SubGrader, sample: Sample, data_item: dict[str, Any], context: GraderContext) -> Grade:
    """The grade of an answer by one criterion. Raises SandboxUnavailableError if a Python grader cannot be isolated."""
    outcome = run_grader(criterion, sample, data_item, context)
    code = next((name for name, value in outcome.flags.items() if value), None)
    error = EvalError(code=code, message=outcome.message) if code and code not in _FAULTS_OF_ANSWER else None
    return Grade(
        score=outcome.reward,
        passed=code is None and outcome.reward >= pass_threshold(criterion),
        sample=_sample_of(outcome.replies[-1]) if outcome.replies else None,
        error=error,
        usage=usage_by_model(_usage(reply) for reply in outcome.replies),
    )


def pass_threshold(criterion: SubGrader) -> float:
    """The score from which an answer passes: the criterion's threshold, or else the middle of its range."""
    threshold: float | None = getattr(criterion, "pass_threshold", None)
    if threshold is None:
        low, high = getattr(criterion, "range", None) or (0.0, 1.0)
        threshold = (low + high) / 2
    return threshold


def _sample_of(reply: ModelReply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.refusal or reply.text}
    return {"model": reply.model, "output": [message], "usage": reply.usage.model_dump()}


def _usage(reply: ModelReply) -> ModelUsage:
    return ModelUsage(model_name=reply.model, invocation_count=1, **reply.usage.model_dump())
