"""Graders that ask a model: what it is told, and how its answer is read. Who asks it is a callable from outside."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luthier.evaluation.graders.failures import GraderFailure, other
from luthier.evaluation.graders.templates import Sample, fill
from luthier.types.graders import EvalItem, LabelModel, SamplingParams, ScoreModel, TextPart, TokenUsage

_SCORE = (
    "Judge as you are told, and answer with one JSON object and nothing else: "
    '{{"steps": [{{"description": "...", "conclusion": "..."}}], "result": NUMBER}}. '
    "`result` is your score, a number from {least:g} to {most:g}."
)
_LABEL = (
    "Judge as you are told, and answer with one JSON object and nothing else: "
    '{{"steps": [{{"description": "...", "conclusion": "..."}}], "result": LABEL}}. `result` is one of: {labels}.'
)


@dataclass(frozen=True)
class Asked:
    """A question to a model, as chat messages. `result`: the JSON schema of what must stand under `result`."""

    model: str
    messages: list[dict[str, Any]]
    sampling: SamplingParams
    result: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """`model`: the name that answered. `refusal`: its words when it would not."""

    text: str
    model: str
    usage: TokenUsage
    refusal: str | None = None


Ask = Callable[[Asked], Reply]


def score(grader: ScoreModel, sample: Sample, item: dict[str, Any], ask: Ask) -> float:
    """The model's score, brought into the grader's range. Raises GraderFailure."""
    least, most = grader.range or (0.0, 1.0)
    rule = _SCORE.format(least=least, most=most)
    reply, result = _ask(grader, rule, {"type": "number"}, sample, item, ask)
    if isinstance(result, str):
        result = _number(result)
    if isinstance(result, bool) or not isinstance(result, int | float) or result != result:
        raise _unreadable(reply)
    return min(max(float(result), least), most)


def label(grader: LabelModel, sample: Sample, item: dict[str, Any], ask: Ask) -> float:
    """1 for a passing label, 0 for another. Raises GraderFailure, also for a label that was not on offer."""
    rule = _LABEL.format(labels=json.dumps(grader.labels, ensure_ascii=False))
    reply, result = _ask(grader, rule, {"type": "string", "enum": grader.labels}, sample, item, ask)
    if result not in grader.labels:
        raise _unreadable(reply)
    return float(result in grader.passing_labels)


def _ask(
    grader: ScoreModel | LabelModel, rule: str, schema: dict[str, Any], sample: Sample, item: dict[str, Any], ask: Ask
) -> tuple[Reply, Any]:
    messages = [{"role": "system", "content": rule}]
    messages += [{"role": one.role, "content": _text(one, sample, item)} for one in grader.input]
    sampling = getattr(grader, "sampling_params", None) or SamplingParams()
    reply = ask(Asked(grader.model, messages, sampling, schema))
    if reply.refusal:
        raise GraderFailure(reply.refusal, model_grader_refusal_error=True)
    return reply, _result(reply.text)


def _text(message: EvalItem, sample: Sample, item: dict[str, Any]) -> str:
    parts = message.content if isinstance(message.content, list) else [message.content]
    texts = []
    for part in parts:
        if not isinstance(part, str | TextPart):
            raise other(f"'{part.type}' is not available on this server: graders read text")
        texts.append(fill(part if isinstance(part, str) else part.text, sample, item))
    return "\n".join(texts)


def _result(text: str) -> Any:
    """What stands under `result` in the answer's JSON object, or the whole answer where it is no object."""
    opening = text.find("{")
    if opening >= 0:
        try:
            found, _ = json.JSONDecoder().raw_decode(text[opening:])
            return found.get("result")
        except (ValueError, RecursionError):
            return None
    return text.strip()


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", text.strip()) else None


def _unreadable(reply: Reply) -> GraderFailure:
    return GraderFailure(f"no usable result in: {reply.text[:200]}", model_grader_parse_error=True)
