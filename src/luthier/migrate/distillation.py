"""Training examples made of an old model's answers, for fine-tuned models whose training file is gone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from luthier.migrate.questions import stored_example
from luthier.migrate.recorded import RecordedModel

_WHOLE = ("stop", "tool_calls", "function_call")  # finish reasons of complete answers
_DEFINITION_KEYS = ("tools", "functions", "parallel_tool_calls")


def distilled_examples(model: RecordedModel) -> list[dict[str, Any]]:
    """An example for each question with a recorded answer, then for each stored completion.

    Answers that were truncated, refused or empty are left out. Where a question was sent with and without function
    definitions, the example has the definitions.
    """
    lines = sorted(model.answers, key=lambda line: line.get("definitions") == "none")
    examples = [*_unique(_example_of_line(line) for line in lines)]
    return list(_unique([*examples, *(_example_of_stored(completion) for completion in model.stored)]))


def _unique(examples: Iterable[dict[str, Any] | None]) -> Iterator[dict[str, Any]]:
    """The first example of each question."""
    questions: set[str] = set()
    for example in examples:
        if example is None:
            continue
        messages = example.get("messages") or [{"role": "user", "content": example.get("prompt")}, {}]
        question = json.dumps([[m.get("role"), m.get("content")] for m in messages[:-1]], sort_keys=True)
        if question not in questions:
            questions.add(question)
            yield example


def _example_of_line(line: dict[str, Any]) -> dict[str, Any] | None:
    request, choices = line["request"], line["response"].get("choices") or [{}]
    choice = choices[0]
    if choice.get("finish_reason") not in _WHOLE:
        return None
    if "prompt" in request:
        return {"prompt": request["prompt"], "completion": choice["text"]} if choice.get("text") else None
    return _chat_example(request["messages"], choice.get("message"), request)


def _example_of_stored(completion: dict[str, Any]) -> dict[str, Any] | None:
    choice = (completion.get("choices") or [{}])[0]
    if choice.get("finish_reason") not in _WHOLE or not completion.get("messages"):
        return None
    example = stored_example(completion)
    return _chat_example(example["messages"][:-1], choice.get("message"), completion)


def _chat_example(
    messages: list[dict[str, Any]], answer: dict[str, Any] | None, definitions: dict[str, Any]
) -> dict[str, Any] | None:
    """An example that trains only the last answer: earlier ones in the conversation have weight 0."""
    answer_fields = (
        {key: answer[key] for key in ("content", "tool_calls", "function_call") if answer.get(key)} if answer else {}
    )
    if not answer_fields or (answer or {}).get("refusal"):
        return None
    turns = [{**message, "weight": 0} if message.get("role") == "assistant" else message for message in messages]
    has_definitions = definitions.get("tools") or definitions.get("functions")
    definition_fields = {
        key: definitions[key] for key in _DEFINITION_KEYS if has_definitions and definitions.get(key) is not None
    }
    return {"messages": [*turns, {"role": "assistant", "content": None, **answer_fields}], **definition_fields}
