"""A grader run: the reward and what OpenAI's answer tells of it. What fails gets the reward 0 and a flag for why."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.evaluation.graders import models
from luthier.evaluation.graders.expression import compute
from luthier.evaluation.graders.failures import GraderFailure, other
from luthier.evaluation.graders.models import Asked, Reply
from luthier.evaluation.graders.sandbox import Isolation, SandboxUnavailableError, run_source
from luthier.evaluation.graders.similarity import cosine, similarity
from luthier.evaluation.graders.templates import Sample, fill
from luthier.types.graders import (
    Grader,
    GraderErrors,
    GraderMetadata,
    LabelModel,
    Multi,
    Python,
    RunGraderResponse,
    ScoreModel,
    StringCheck,
    SubGrader,
    TextSimilarity,
    TokenUsage,
)

__all__ = ["Asked", "Reply", "Tools", "grade"]
_LONGEST_CHARACTERS = 200_000  # comparing takes time by the product of the lengths


@dataclass(frozen=True)
class Tools:
    """What graders need from outside. None: not available here.

    `ask` asks a model; `embed` turns texts into vectors; `python`: how Python graders are kept in.
    """

    ask: Callable[[Asked], Reply] | None = None
    embed: Callable[[Sequence[str]], Sequence[Sequence[float]]] | None = None
    python: Isolation | None = None


@dataclass
class _Outcome:
    reward: float = 0.0
    flags: dict[str, Any] = field(default_factory=dict)
    replies: list[Reply] = field(default_factory=list)


def grade(grader: Grader, sample: Sample, item: dict[str, Any], tools: Tools) -> RunGraderResponse:
    """Raises SandboxUnavailableError for a Python grader where none can be run: that is no fault of the grader's."""
    started = time.perf_counter()
    parts: dict[str, _Outcome] = {}
    if isinstance(grader, Multi):
        parts = {name: _graded(one, sample, item, tools) for name, one in grader.named().items()}
        whole = _combined(grader, parts)
    else:
        whole = _graded(grader, sample, item, tools)
    rewards = {name: part.reward for name, part in parts.items()}
    usage = _usage(whole.replies)
    return RunGraderResponse(
        reward=whole.reward,
        metadata=GraderMetadata(
            name=grader.name,
            type=grader.type,
            errors=GraderErrors(**whole.flags),
            execution_time=time.perf_counter() - started,
            scores=rewards,
            token_usage=sum(used.total_tokens for used in usage.values()) if usage else None,
            sampled_model_name=whole.replies[0].model if whole.replies else None,
        ),
        sub_rewards=rewards,
        model_grader_token_usage_per_model=usage,
    )


def _combined(grader: Multi, parts: dict[str, _Outcome]) -> _Outcome:
    """A part that failed counts as 0 in the formula, and its flags are the whole's."""
    whole = _Outcome()
    for part in parts.values():
        whole.flags |= part.flags
        whole.replies += part.replies
    try:
        whole.reward = compute(grader.calculate_output, {name: part.reward for name, part in parts.items()})
    except GraderFailure as error:
        whole.flags |= error.flags
    return whole


def _graded(grader: SubGrader, sample: Sample, item: dict[str, Any], tools: Tools) -> _Outcome:
    outcome = _Outcome()
    try:
        outcome.reward = _reward(grader, sample, item, tools, outcome.replies)
    except GraderFailure as error:
        outcome.flags = error.flags
    return outcome


def _reward(grader: SubGrader, sample: Sample, item: dict[str, Any], tools: Tools, replies: list[Reply]) -> float:
    match grader:
        case StringCheck():
            return _string_check(grader, fill(grader.input, sample, item), fill(grader.reference, sample, item))
        case TextSimilarity():
            return _similarity(grader, fill(grader.input, sample, item), fill(grader.reference, sample, item), tools)
        case Python():
            if tools.python is None:
                raise SandboxUnavailableError("Python graders are off here.")
            return run_source(grader.source, sample.namespace, item, tools.python)
        case ScoreModel():
            return models.score(grader, sample, item, _asking(tools, replies))
        case LabelModel():
            return models.label(grader, sample, item, _asking(tools, replies))


def _string_check(grader: StringCheck, text: str, reference: str) -> float:
    match grader.operation:
        case "eq":
            return float(text == reference)
        case "ne":
            return float(text != reference)
        case "like":
            return float(reference in text)
        case "ilike":
            return float(reference.casefold() in text.casefold())


def _similarity(grader: TextSimilarity, text: str, reference: str, tools: Tools) -> float:
    if max(len(text), len(reference)) > _LONGEST_CHARACTERS:
        raise other(f"texts are compared up to {_LONGEST_CHARACTERS:,} characters")
    if grader.evaluation_metric != "cosine":
        return similarity(grader.evaluation_metric, text, reference)
    if tools.embed is None:
        raise other("cosine needs embeddings, which are not available here")
    return cosine(*tools.embed([text, reference]))


def _asking(tools: Tools, replies: list[Reply]) -> Callable[[Asked], Reply]:
    """Asks, and remembers what was answered, also when nothing can be made of it: the tokens were used."""
    if tools.ask is None:
        raise GraderFailure("no model can be asked here", model_grader_server_error=True)
    ask = tools.ask

    def remembered(asked: Asked) -> Reply:
        replies.append(ask(asked))
        return replies[-1]

    return remembered


def _usage(replies: list[Reply]) -> dict[str, TokenUsage]:
    by_model: dict[str, TokenUsage] = {}
    for reply in replies:
        used = by_model.setdefault(reply.model, TokenUsage())
        for name in TokenUsage.model_fields:
            setattr(used, name, getattr(used, name) + getattr(reply.usage, name))
    return by_model
