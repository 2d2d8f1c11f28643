"""Runs a grader: the reward and OpenAI's metadata. A grader that fails gives the reward 0, with flags for the cause."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.evaluation.graders.context import GraderContext, ModelReply
from luthier.evaluation.graders.expression import compute
from luthier.evaluation.graders.failures import GraderFailure
from luthier.evaluation.graders.grader_type import grader_type
from luthier.evaluation.graders.templates import Sample
from luthier.types.graders import (
    Grader,
    GraderErrors,
    GraderMetadata,
    Multi,
    RunGraderResponse,
    SubGrader,
    TokenUsage,
)


@dataclass
class Outcome:
    """The reward of one grader; 0 if it failed, with the flags and the message of the failure.

    `replies`: the replies of its grading models, including those that cannot be parsed.
    """

    reward: float = 0.0
    flags: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    replies: list[ModelReply] = field(default_factory=list)


def grade(grader: Grader, sample: Sample, data_item: dict[str, Any], context: GraderContext) -> RunGraderResponse:
    """The response to a grader run. Raises SandboxUnavailableError if a Python grader cannot be isolated, which is not
    the grader's fault.
    """
    started = time.perf_counter()
    parts: dict[str, Outcome] = {}
    if isinstance(grader, Multi):
        parts = {name: run_grader(part, sample, data_item, context) for name, part in grader.named().items()}
        total = _combine(grader, parts)
    else:
        total = run_grader(grader, sample, data_item, context)
    rewards = {name: part.reward for name, part in parts.items()}
    usage = _usage_by_model(total.replies)
    return RunGraderResponse(
        reward=total.reward,
        metadata=GraderMetadata(
            name=grader.name,
            type=grader.type,
            errors=GraderErrors(**total.flags),
            execution_time=time.perf_counter() - started,
            scores=rewards,
            token_usage=sum(tokens.total_tokens for tokens in usage.values()) if usage else None,
            sampled_model_name=total.replies[0].model if total.replies else None,
        ),
        sub_rewards=rewards,
        model_grader_token_usage_per_model=usage,
    )


def _combine(grader: Multi, parts: dict[str, Outcome]) -> Outcome:
    """The outcome of a `multi` grader. A part that failed counts as 0 in the formula, and sets its flags."""
    total = Outcome()
    for part in parts.values():
        total.flags |= part.flags
        total.replies += part.replies
    try:
        total.reward = compute(grader.calculate_output, {name: part.reward for name, part in parts.items()})
    except GraderFailure as error:
        total.flags |= error.flags
    return total


def run_grader(grader: SubGrader, sample: Sample, data_item: dict[str, Any], context: GraderContext) -> Outcome:
    """Runs a grader that is not `multi`. Raises SandboxUnavailableError."""
    outcome = Outcome()
    context = replace(context, replies=outcome.replies)
    try:
        outcome.reward = grader_type(grader.type).reward(grader, sample, data_item, context)
    except GraderFailure as error:
        outcome.flags, outcome.message = error.flags, str(error)
    return outcome


def _usage_by_model(replies: list[ModelReply]) -> dict[str, TokenUsage]:
    usage: dict[str, TokenUsage] = {}
    for reply in replies:
        tokens = usage.setdefault(reply.model, TokenUsage())
        for name in TokenUsage.model_fields:
            setattr(tokens, name, getattr(tokens, name) + getattr(reply.usage, name))
    return usage
