"""Calls, results and definitions that are written as text in a conversation, in the Hermes form → keys of messages.

`<tool_call>`, `<tool_response>` and `<tools>` enclose JSON. If any call of a conversation cannot be read, the
conversation stays as it is, and the check reports it.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from luthier.data.convert.records import Example, decoded

_Value = TypeVar("_Value")


def has_call_texts(messages: Any) -> bool:
    """Whether a message or a turn contains a call as text."""
    turns = [turn for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
    return any(isinstance(text, str) and "</tool_call>" in text for turn in turns for text in turn.values())


def read_call_texts(messages: list[Example]) -> tuple[list[Example], list[Any]] | None:
    """(the messages with calls and results, the definitions in the system prompt); None if a call cannot be read."""
    read: list[Example] = []
    tools: list[Any] = []
    ids: list[str] = []
    count = 0
    for message in messages:
        role, text = message["role"], message.get("content")
        if role == "assistant" and isinstance(text, str) and "<tool_call>" in text:
            words, functions = _cut(text, "tool_call", _function)
            if "<tool_call>" in words or "tool_calls" in message:
                return None
            ids = [f"call_{number}" for number in range(count + 1, count + len(functions) + 1)]
            count += len(functions)
            pairs = zip(ids, functions, strict=True)
            calls = [{"id": call_id, "type": "function", "function": function} for call_id, function in pairs]
            read.append(message | {"content": words.strip() or None, "tool_calls": calls})
        elif role == "tool" and isinstance(text, str):
            words, results = _cut(text, "tool_response", str)
            for result in [text] if words.strip() else results:
                read.append(message | ({"tool_call_id": ids.pop(0)} if ids else {}) | {"content": result})
        elif role == "system" and isinstance(text, str):
            words, lists = _cut(text, "tools", _definitions)
            tools += [definition for definitions in lists for definition in definitions]
            read.append(message | {"content": words.strip() if lists else text})
        else:
            read.append(message)
    return read, tools


def _cut(text: str, tag: str, read: Callable[[str], _Value | None]) -> tuple[str, list[_Value]]:
    """(the text outside the tags, the values inside); a value that cannot be read stays in the text, with its tags."""
    first, *pieces = text.split(f"<{tag}>")
    words, values = [first], []
    for piece in pieces:
        enclosed, mark, after = piece.partition(f"</{tag}>")
        value = read(enclosed.strip()) if mark else None
        if value is None:
            words.append(f"<{tag}>{piece}")
        else:
            values.append(value)
            words.append(after)
    return "".join(words), values


def _function(text: str) -> Example | None:
    call = decoded(text)
    if not isinstance(call, dict) or call.keys() != {"name", "arguments"} or not isinstance(call["name"], str):
        return None
    arguments = call["arguments"]
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"name": call["name"], "arguments": written}


def _definitions(text: str) -> list[Example] | None:
    value = decoded(text)
    definitions = [value] if isinstance(value, dict) else value
    is_list = isinstance(definitions, list) and all(isinstance(definition, dict) for definition in definitions)
    return definitions if is_list and definitions else None
