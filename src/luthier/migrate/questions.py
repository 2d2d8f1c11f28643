"""Questions for the old models: from validation files, training files, files of prompts and stored completions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.generate.errors import OptionsError
from luthier.language import say

Source = Literal["validation", "training", "prompts", "stored_completions"]
Definitions = Literal["full", "none"]
_DEFINITION_KEYS = ("tools", "functions")
_TOKENS_PER_MESSAGE = 16  # around a message in any chat template; a generous bound
_MAX_IMAGE_TOKENS = 50_000  # of one image, in the models that count most for it


@dataclass(frozen=True, slots=True)
class Question:
    """One request to a model. `definitions`: whether the model sees the function definitions of the example."""

    body: dict[str, Any]
    source: Source
    definitions: Definitions | None = None
    reference: dict[str, Any] | None = None  # the assistant's message of the example

    @property
    def id(self) -> str:
        """Equal for equal questions, in every run."""
        canonical = json.dumps(self.body, sort_keys=True, ensure_ascii=True)
        return "q-" + hashlib.sha256(canonical.encode()).hexdigest()[:20]

    @property
    def max_prompt_tokens(self) -> int:
        """An upper bound for any tokenizer, which needs at most one token per byte."""
        text, images = _text_and_images(self.body)
        return len(text.encode()) + images * _MAX_IMAGE_TOKENS + _TOKENS_PER_MESSAGE * len(self.body["messages"])

    @property
    def typical_tokens(self) -> tuple[int, int]:
        """(prompt, completion), at four bytes per token; for the estimate, not for the cap."""
        text, images = _text_and_images(self.body)
        reply = json.dumps(self.reference, ensure_ascii=False) if self.reference else "x" * 800
        return len(text.encode()) // 4 + images * 1000, len(reply.encode()) // 4


def _text_and_images(body: dict[str, Any]) -> tuple[str, int]:
    """The body as JSON without its images, and their number."""
    images = 0

    def strip(value: Any) -> Any:
        nonlocal images
        if isinstance(value, dict):
            if value.get("type") == "image_url":
                images += 1
                return None
            return {key: strip(field) for key, field in value.items()}
        return [strip(field) for field in value] if isinstance(value, list) else value

    return json.dumps(strip(body), ensure_ascii=False), images


def read_questions(path: Path, source: Source, limit: int | None, variants: Sequence[Definitions]) -> list[Question]:
    """Up to `limit` examples of a JSONL file, evenly spaced; examples with definitions once per variant.

    In a file of prompts a line may also be text, or `{"prompt": ...}`.
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        rows = [row for line in lines if line.strip() and (row := _parse(line, source)) is not None]
    return questions_of(rows, source, limit, variants)


def questions_of(
    rows: Sequence[dict[str, Any]], source: Source, limit: int | None, variants: Sequence[Definitions]
) -> list[Question]:
    """As `read_questions`, for rows that were read already."""
    if limit and len(rows) > limit:
        rows = [rows[number * len(rows) // limit] for number in range(limit)]
    return unique(question for row in rows for question in _row_questions(row, source, variants))


def unique(questions: Iterable[Question]) -> list[Question]:
    """Equal questions once, in order."""
    return list({question.id: question for question in questions}.values())


def stored_row(completion: dict[str, Any]) -> dict[str, Any]:
    """A stored completion, as recorded, in the form of an example."""
    messages = [
        {key: message[key] for key in ("role", "content", "tool_calls", "tool_call_id", "name") if message.get(key)}
        for message in completion.get("messages") or []
    ]
    choices = completion.get("choices") or [{}]
    answer = choices[0].get("message")
    return {"messages": messages + ([answer] if answer else []), "tools": completion.get("tools") or []}


def _parse(line: str, source: Source) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        row = line.strip() if source == "prompts" else None
    if isinstance(row, dict) and isinstance(row.get("prompt"), str) and source == "prompts":
        row = row["prompt"]
    if isinstance(row, str):
        return {"messages": [{"role": "user", "content": row}]}
    return row if isinstance(row, dict) else None


def _row_questions(row: dict[str, Any], source: Source, variants: Sequence[Definitions]) -> Iterator[Question]:
    """Of a chat example, everything before its last assistant message; of a preference, its input."""
    preference = row.get("input")
    if isinstance(preference, dict):
        preferred = row.get("preferred_output") or row.get("preferred_completion") or [None]
        example = {**preference, "messages": [*(preference.get("messages") or []), preferred[-1]]}
    else:
        example = row
    messages = [message for message in example.get("messages") or [] if isinstance(message, dict)]
    answers = [number for number, message in enumerate(messages) if message.get("role") == "assistant"]
    ends_with_answer = bool(answers) and answers[-1] == len(messages) - 1
    prompt = messages[:-1] if ends_with_answer else messages
    reference = messages[-1] if ends_with_answer else None
    if not prompt:
        return
    body: dict[str, Any] = {"messages": [_sent(message) for message in prompt]}
    definitions = {key: example[key] for key in _DEFINITION_KEYS if example.get(key)}
    if not definitions:
        yield Question(body, source, None, reference)
        return
    if "parallel_tool_calls" in example and "tools" in definitions:
        definitions["parallel_tool_calls"] = example["parallel_tool_calls"]
    for variant in variants:
        yield Question({**body, **definitions} if variant == "full" else body, source, variant, reference)


def _sent(message: dict[str, Any]) -> dict[str, Any]:
    """A message without the keys of training."""
    return {key: value for key, value in message.items() if key != "weight"}


def read_prompts(path: Path, limit: int | None, variants: Sequence[Definitions]) -> list[Question]:
    """Questions of `--prompts`. Raises OptionsError for a file without any."""
    questions = read_questions(path, "prompts", limit, variants)
    if not questions:
        raise OptionsError(say(f"{path} has no prompts.", f"{path} 里没有提示。"))
    return questions
