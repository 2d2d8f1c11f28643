"""What a run will come to before it is made: requests and money, as a bound and, after a few real requests, measured.

Knows plans and usage, asks nobody.
"""

import math
from typing import Any

from luthier.generate.budget import Price
from luthier.generate.judge import OPINION_TOKENS
from luthier.generate.questions import TOKENS_EACH
from luthier.generate.teacher import Usage
from luthier.generate.topics import Wish

_QUESTION_PROMPT = 900  # tokens of a request for questions with the earlier ones shown, generously
_BARE_PROMPT = 200
_RUBRIC = 300


def expected_requests(wish: Wish, judged: bool) -> dict[str, int]:
    """By kind, when nothing has to be asked twice."""
    plan = wish.plan
    batches = len(plan.topics) * math.ceil(plan.per_topic / wish.batch)
    found = {"probe": 1, "sub-topics": len(plan.topics) if wish.sub_topics else 0, "questions": batches}
    found["answers"] = plan.total
    if judged:
        found["judge"] = plan.total
    return found


def estimate(
    wish: Wish,
    requests: dict[str, int],
    price: Price | None,
    usage: dict[str, Usage],
    judge_price: Price | None = None,
) -> dict[str, Any]:
    """Tokens and dollars of teacher and judge: each kind at its measured mean where `usage` has one, else at its limit.
    No dollars where a price is not known.
    """
    limits = {
        "probe": (50, 64),
        "sub-topics": (200, 64 + 30 * wish.sub_topics),
        "questions": (_QUESTION_PROMPT, 64 + TOKENS_EACH * wish.batch),
        "answers": (_BARE_PROMPT + 2 * len(wish.system or ""), wish.max_tokens),
        "judge": (_RUBRIC + TOKENS_EACH + wish.max_tokens, OPINION_TOKENS),
    }
    limits = {kind: limit for kind, limit in limits.items() if kind in requests}
    prompt, completion, dollars, known = 0, 0, 0.0, True
    for kind, (most_prompt, most_completion) in limits.items():
        measured = usage.get(kind)
        if measured and measured.requests:
            most_prompt = round(measured.prompt_tokens / measured.requests)
            most_completion = round(measured.completion_tokens / measured.requests)
        prompts, completions = requests[kind] * most_prompt, requests[kind] * most_completion
        prompt, completion = prompt + prompts, completion + completions
        each = judge_price if kind == "judge" else price
        known = known and each is not None
        dollars += each.cost(prompts, completions) if each else 0.0
    return {
        "measured": sorted(kind for kind in limits if kind in usage and usage[kind].requests),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "usd": round(dollars, 4) if known else None,
    }
