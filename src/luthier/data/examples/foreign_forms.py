"""Formats of other tools that are not examples, recognised by their keys so that an error can name them.

Formats that `convert` reads are not among them, except preference pairs, some of which it cannot read.
"""

from collections.abc import Callable
from typing import Any

_Members = dict[str, Any]
_ANSWERS = {
    "question",
    "answer",
    "label",
    "labels",
    "target",
    "summary",
    "标签",
    "答案",
}  # keys that show that the text beside them is not a conversation

_TARGETS = ("target", "summary", "translation")

_REJECTED = frozenset(
    ("rejected", "rejected_response", "rejected_responses", "rejected_output", "rejected_messages",
     "dispreferred")
)  # fmt: skip


def rejected_key(value: _Members) -> str | None:
    """The key of the rejected answer of a preference pair; None without one."""
    return next((key for key in value if key.strip().lower() in _REJECTED), None)


def foreign_form(value: _Members) -> str | None:
    """The name of the format, as in `findings.foreign`; None for an unknown format."""
    return next((name for name, is_form in _FORMS.items() if is_form(value)), None)


def _objects(value: Any) -> list[_Members]:
    return [member for member in value if isinstance(member, dict)] if isinstance(value, list) else []


def _has_parts_of(value: _Members, key: str, kind: str) -> bool:
    """Whether a message under `key` has a content part whose type ends with `kind`."""
    parts = [part for message in _objects(value.get(key)) for part in _objects(message.get("content"))]
    return any(str(part.get("type")).endswith(kind) for part in parts)


def _is_trace(value: _Members) -> bool:
    answers = value.keys() & {"output", "expected_output", "expectedOutput", "expected"}
    question = value.get("input")
    messages = question.get("messages") if isinstance(question, dict) else question
    return bool(answers) and any("role" in message for message in _objects(messages))


def _is_text_pair(value: _Members) -> bool:
    """Whether it has a text under `source` and what is to be written about it under another key."""
    return isinstance(value.get("source"), str) and any(isinstance(value.get(key), str) for key in _TARGETS)


_FORMS: dict[str, Callable[[_Members], bool]] = {
    "preferences": lambda value: rejected_key(value) is not None,
    "batch requests": lambda value: "custom_id" in value and isinstance(value.get("body"), dict),
    "batch results": lambda value: "custom_id" in value and "response" in value,
    "gemini": lambda value: any("parts" in content for content in _objects(value.get("contents"))),
    "responses": lambda value: _has_parts_of(value, "input", "put_text") or _has_parts_of(value, "output", "put_text"),
    "langsmith": lambda value: isinstance(value.get("inputs"), dict) and "outputs" in value,
    "trace": _is_trace,
    "evals": lambda value: isinstance(value.get("item"), dict),
    "source and target": _is_text_pair,
    "one text": lambda value: any(
        isinstance(text, str) and not value.keys() & _ANSWERS
        for text in (value.get("chat"), value.get("text"), value.get("dialogue"))
    ),
}
