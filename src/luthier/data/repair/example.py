"""An example with structural faults → the example that was certainly intended, with the codes of the repairs.

Repairs only what follows from the example itself: the spelling of a role, arguments that are an object instead of its
JSON, definitions in the wrong wrapping. Adds no text, and removes no message except an empty system prompt.
"""

import ast
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from luthier.data.check.structure.messages import MESSAGE_KEYS, ROLES

_ROLES = {
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "ai": "assistant", "用户": "user", "助手": "assistant", "系统": "system",
}  # fmt: skip
_WEIGHTS = {"0": 0, "1": 1, "True": 1, "False": 0}


def repair_example(value: Any) -> tuple[Any, list[str]]:
    """(the repaired copy of a JSON value, the codes of the repairs)."""
    value = json.loads(json.dumps(value))
    codes: list[str] = []
    if _is_conversation(value):
        value, codes = {"messages": value}, ["data_type"]
    if isinstance(value, dict):
        for repair in (_definitions, _messages):
            codes += repair(value)
    return value, list(dict.fromkeys(codes))


def _is_conversation(value: Any) -> bool:
    """Whether it is a list of messages that lacks only the object around it."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, dict) and "role" in message for message in value)
    )


def _definitions(example: dict[str, Any]) -> Iterator[str]:
    for index, tool in enumerate(tools := _list(example, "tools")):
        if isinstance(tool, dict) and "function" not in tool and isinstance(tool.get("name"), str):
            tools[index] = {"type": "function", "function": tool}
            yield "definition_invalid"
    for index, function in enumerate(functions := _list(example, "functions")):
        if isinstance(function, dict) and "name" not in function and isinstance(function.get("function"), dict):
            functions[index] = function["function"]
            yield "definition_invalid"


def _list(value: dict[str, Any], key: str) -> list[Any]:
    member = value.get(key)
    return member if isinstance(member, list) else []


def _messages(example: dict[str, Any]) -> Iterator[str]:
    turns = _list(example, "messages")
    messages = [message for message in turns if isinstance(message, dict)]
    for message in messages:
        yield from _role(message)
        yield from _keys(message)
        yield from _content(message)
        yield from _weight(message)
        yield from _calls(message)
    empty = [message for message in messages if message.get("role") == "system" and message.get("content") == ""]
    if empty and len(empty) < len(messages):
        example["messages"] = [message for message in turns if message not in empty]
        yield "missing_content"


def _role(message: dict[str, Any]) -> Iterator[str]:
    role = message.get("role")
    if isinstance(role, str) and role not in ROLES:
        plain = role.strip().lower()
        intended = _ROLES.get(plain, plain)
        if intended in ROLES:
            message["role"] = intended
            yield "unrecognized_role"


def _keys(message: dict[str, Any]) -> Iterator[str]:
    """Removes keys that a server refuses or ignores; the list of repairs shows them."""
    for key in [key for key in message if key not in MESSAGE_KEYS]:
        del message[key]
        yield "message_unrecognized_key"


def _content(message: dict[str, Any]) -> Iterator[str]:
    """Writes a number as text, and the result of a function as JSON."""
    content = message.get("content")
    is_result = message.get("role") in ("tool", "function")
    is_parts = isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
    if (isinstance(content, int | float)) or (is_result and isinstance(content, dict | list) and not is_parts):
        message["content"] = json.dumps(content, ensure_ascii=False)
        yield "content_type"


def _weight(message: dict[str, Any]) -> Iterator[str]:
    weight = message.get("weight")
    if weight is None:
        return
    if message.get("role") != "assistant":
        del message["weight"]
        yield "weight_invalid"
    elif isinstance(weight, bool | str) and str(weight) in _WEIGHTS:
        message["weight"] = _WEIGHTS[str(weight)]
        yield "weight_invalid"


def _calls(message: dict[str, Any]) -> Iterator[str]:
    wrapped = [call.get("function") for call in _list(message, "tool_calls") if isinstance(call, dict)]
    for call in [message.get("function_call"), *wrapped]:
        if isinstance(call, dict) and "name" in call:
            yield from _arguments(call)


def _arguments(call: dict[str, Any]) -> Iterator[str]:
    """Writes arguments as the JSON, in a string, of one object."""
    arguments = call.get("arguments")
    if arguments in (None, ""):
        call["arguments"] = "{}"
        yield "arguments_not_json"
    elif isinstance(arguments, dict):
        call["arguments"] = json.dumps(arguments, ensure_ascii=False)
        yield "arguments_not_json"
    elif isinstance(arguments, str):
        inner = _parsed(arguments)
        if isinstance(inner, str) and isinstance(_parsed(inner), dict):
            call["arguments"] = inner
            yield "arguments_encoded_twice"
        elif inner is None and (value := _python_object(arguments)) is not None:
            call["arguments"] = json.dumps(value, ensure_ascii=False)
            yield "arguments_not_json"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _python_object(text: str) -> dict[str, Any] | None:
    """An object from the output of Python's `print`."""
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        value = ast.literal_eval(text.strip()) if len(text) < 100_000 else None
        if isinstance(value, dict) and json.loads(json.dumps(value, allow_nan=False)) == value:
            return value
    return None
