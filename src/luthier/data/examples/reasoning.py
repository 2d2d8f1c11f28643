"""Splits examples with reasoning in several answers, because clients send earlier answers without their reasoning."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.data.examples.example import Example

_KEY = "reasoning_content"


def by_reasoning(example: Example) -> Iterator[Example]:
    """One example for each answer with reasoning that other answers follow, and one for all other answers.

    Each answer is trained once. An example in which only the last answer has reasoning, or none, stays as it is.
    """
    answers = [index for index, message in enumerate(example.messages) if message.get("role") == "assistant"]
    reasoned = [index for index in answers[:-1] if example.messages[index].get(_KEY)]
    for index in reasoned:
        if example.messages[index].get("weight") != 0:
            earlier = [_context(message) for message in example.messages[:index]]
            yield replace(example, messages=[*earlier, example.messages[index]])
    if reasoned:
        messages = [
            _context(message) if index in reasoned else message for index, message in enumerate(example.messages)
        ]
        example = replace(example, messages=messages)
    if not reasoned or any(example.messages[index].get("weight") != 0 for index in answers):
        yield example


def _context(message: dict[str, Any]) -> dict[str, Any]:
    """The message as part of a prompt: without reasoning and, if it is from the assistant, with weight 0."""
    if message.get("role") != "assistant":
        return message
    return {**{key: value for key, value in message.items() if key != _KEY}, "weight": 0}
