"""`score_model` and `label_model`: graders that prompt a model and parse its verdict."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from luthier.evaluation.graders.context import GraderContext, ModelReply, ModelRequest
from luthier.evaluation.graders.failures import GraderFailure, other_failure
from luthier.evaluation.graders.grader_type import GraderType
from luthier.evaluation.graders.templates import Sample, fill
from luthier.types.graders import EvalItem, LabelModel, SamplingParams, ScoreModel, TextPart

_SCORE_INSTRUCTIONS = (
    "Judge as you are told, and answer with one JSON object and nothing else: "
    '{{"steps": [{{"description": "...", "conclusion": "..."}}], "result": NUMBER}}. '
    "`result` is your score, a number from {low:g} to {high:g}."
)
_LABEL_INSTRUCTIONS = (
    "Judge as you are told, and answer with one JSON object and nothing else: "
    '{{"steps": [{{"description": "...", "conclusion": "..."}}], "result": LABEL}}. `result` is one of: {labels}.'
)


class ScoreModelGrader(GraderType[ScoreModel]):
    request = ScoreModel

    def templates(self, grader: ScoreModel) -> Iterable[tuple[str, str]]:
        return _templates(grader)

    def reward(self, grader: ScoreModel, sample: Sample, data_item: dict[str, Any], context: GraderContext) -> float:
        """The model's score, clamped to the grader's range."""
        low, high = grader.range or (0.0, 1.0)
        instructions = _SCORE_INSTRUCTIONS.format(low=low, high=high)
        messages = _messages(grader, instructions, sample, data_item)
        sampling = grader.sampling_params or SamplingParams()
        reply = _ask(ModelRequest(grader.model, messages, sampling, {"type": "number"}), context)
        score = _result(reply.text)
        if isinstance(score, str):
            score = _parse_number(score)
        if isinstance(score, bool) or not isinstance(score, int | float) or score != score:
            raise _unparsable(reply)
        return min(max(float(score), low), high)


class LabelModelGrader(GraderType[LabelModel]):
    request = LabelModel

    def templates(self, grader: LabelModel) -> Iterable[tuple[str, str]]:
        return _templates(grader)

    def problem(self, grader: LabelModel) -> tuple[str, str] | None:
        if not set(grader.passing_labels) <= set(grader.labels):
            return "passing_labels", "every passing label must be one of 'labels'"
        return None

    def reward(self, grader: LabelModel, sample: Sample, data_item: dict[str, Any], context: GraderContext) -> float:
        """1 for a passing label, 0 for another label; any other answer is a failure."""
        instructions = _LABEL_INSTRUCTIONS.format(labels=json.dumps(grader.labels, ensure_ascii=False))
        messages = _messages(grader, instructions, sample, data_item)
        schema = {"type": "string", "enum": grader.labels}
        reply = _ask(ModelRequest(grader.model, messages, SamplingParams(), schema), context)
        label = _result(reply.text)
        if label not in grader.labels:
            raise _unparsable(reply)
        return float(label in grader.passing_labels)


def _templates(grader: ScoreModel | LabelModel) -> Iterator[tuple[str, str]]:
    for message in grader.input:
        for text in message_templates(message):
            yield "input", text


def message_templates(message: EvalItem) -> Iterator[str]:
    """The texts of a message in which templates are filled in."""
    for part in message.content if isinstance(message.content, list) else [message.content]:
        if isinstance(part, str | TextPart):
            yield part if isinstance(part, str) else part.text


def _messages(
    grader: ScoreModel | LabelModel, instructions: str, sample: Sample, data_item: dict[str, Any]
) -> list[dict[str, Any]]:
    filled = [{"role": message.role, "content": message_text(message, sample, data_item)} for message in grader.input]
    return [{"role": "system", "content": instructions}, *filled]


def message_text(message: EvalItem, sample: Sample, data_item: dict[str, Any]) -> str:
    """The text of a message with its templates filled. Raises GraderFailure."""
    parts = message.content if isinstance(message.content, list) else [message.content]
    texts = []
    for part in parts:
        if not isinstance(part, str | TextPart):
            raise other_failure(f"parts of type '{part.type}' are not available on this server: graders read only text")
        texts.append(fill(part if isinstance(part, str) else part.text, sample, data_item))
    return "\n".join(texts)


def _ask(request: ModelRequest, context: GraderContext) -> ModelReply:
    reply = context.ask(request)
    if reply.refusal:
        raise GraderFailure(reply.refusal, model_grader_refusal_error=True)
    return reply


def _result(text: str) -> Any:
    """The `result` field of the answer's JSON object, or the whole answer if it contains no object."""
    start = text.find("{")
    if start >= 0:
        try:
            verdict, _ = json.JSONDecoder().raw_decode(text[start:])
            return verdict.get("result")
        except (ValueError, RecursionError):
            return None
    return text.strip()


def _parse_number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", text.strip()) else None


def _unparsable(reply: ModelReply) -> GraderFailure:
    return GraderFailure(f"the model's answer has no usable result: {reply.text[:200]}", model_grader_parse_error=True)
