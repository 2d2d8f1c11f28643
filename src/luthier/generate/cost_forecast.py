"""A forecast of a run's requests and cost: an upper bound, or an estimate from a few real requests."""

import math
from typing import Any

from luthier.generate.budget import Price
from luthier.generate.judge import MAX_JUDGE_TOKENS
from luthier.generate.questions import TOKENS_PER_QUESTION
from luthier.generate.teacher import Usage
from luthier.generate.topics import TopicSpec

_QUESTION_PROMPT_TOKENS = 900  # a generous bound for a prompt that shows earlier questions
_BARE_PROMPT_TOKENS = 200
_RUBRIC_TOKENS = 300


def expected_requests(spec: TopicSpec, judged: bool) -> dict[str, int]:
    """How many requests of each kind the run needs if none has to be repeated."""
    plan = spec.plan
    batches = len(plan.topics) * math.ceil(plan.per_topic / spec.batch)
    requests = {"probe": 1, "sub-topics": len(plan.topics) if spec.sub_topics else 0, "questions": batches}
    requests["answers"] = plan.total
    if judged:
        requests["judge"] = plan.total
    return requests


def estimate(
    spec: TopicSpec,
    requests: dict[str, int],
    price: Price | None,
    usage: dict[str, Usage],
    judge_price: Price | None = None,
) -> dict[str, Any]:
    """The tokens and the cost of teacher and judge.

    Args:
        requests: The number of requests by kind.
        usage: Measured requests by kind. Their mean tokens replace the token limits of that kind.

    Returns:
        The kinds that were measured, prompt and completion tokens, and US dollars (None if a price is unknown).
    """
    limits = {
        "probe": (50, 64),
        "sub-topics": (200, 64 + 30 * spec.sub_topics),
        "questions": (_QUESTION_PROMPT_TOKENS, 64 + TOKENS_PER_QUESTION * spec.batch),
        "answers": (_BARE_PROMPT_TOKENS + 2 * len(spec.system or ""), spec.max_tokens),
        "judge": (_RUBRIC_TOKENS + TOKENS_PER_QUESTION + spec.max_tokens, MAX_JUDGE_TOKENS),
    }
    limits = {kind: limit for kind, limit in limits.items() if kind in requests}
    prompt_tokens, completion_tokens, dollars, is_priced = 0, 0, 0.0, True
    for kind, (prompt_each, completion_each) in limits.items():
        measured = usage.get(kind)
        if measured and measured.requests:
            prompt_each = round(measured.prompt_tokens / measured.requests)
            completion_each = round(measured.completion_tokens / measured.requests)
        kind_prompt, kind_completion = requests[kind] * prompt_each, requests[kind] * completion_each
        prompt_tokens, completion_tokens = prompt_tokens + kind_prompt, completion_tokens + kind_completion
        kind_price = judge_price if kind == "judge" else price
        is_priced = is_priced and kind_price is not None
        dollars += kind_price.cost(kind_prompt, kind_completion) if kind_price else 0.0
    return {
        "measured": sorted(kind for kind in limits if kind in usage and usage[kind].requests),
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "usd": round(dollars, 4) if is_priced else None,
    }
