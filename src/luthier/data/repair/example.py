"""An example with slips of form → the example that was certainly meant, with the codes of what was mended.

Mends only what can be told from the example itself: the spelling of a role, arguments that are an object instead of
its JSON, definitions in the wrong wrapping. Invents no text and takes no message away but an empty system prompt.
"""

import ast
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from luthier.data.check.form.messages import MESSAGE_KEYS, ROLES

_ROLES = {
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "ai": "assistant", "用户": "user", "助手": "assistant", "系统": "system",
}  # fmt: skip
_WEIGHTS = {"0": 0, "1": 1, "True": 1, "False": 0}


def mend_example(value: Any) -> tuple[Any, list[str]]:
    """A value of JSON and the codes of what was mended; the value given is not changed."""
    value = json.loads(json.dumps(value))
    codes: list[str] = []
    if _is_conversation(value):
        value, codes = {"messages": value}, ["data_type"]
    if isinstance(value, dict):
        for mend in (_definitions, _messages):
            codes += mend(value)
    return value, list(dict.fromkeys(codes))


def _is_conversation(value: Any) -> bool:
    """A list of messages that lacks only the object around it."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "role" in one for one in value)


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
    found = value.get(key)
    return found if isinstance(found, list) else []


def _messages(example: dict[str, Any]) -> Iterator[str]:
    given = _list(example, "messages")
    messages = [message for message in given if isinstance(message, dict)]
    for message in messages:
        yield from _role(message)
        yield from _keys(message)
        yield from _content(message)
        yield from _weight(message)
        yield from _calls(message)
    empty = [message for message in messages if message.get("role") == "system" and message.get("content") == ""]
    if empty and len(empty) < len(messages):
        example["messages"] = [message for message in given if message not in empty]
        yield "missing_content"


def _role(message: dict[str, Any]) -> Iterator[str]:
    role = message.get("role")
    if isinstance(role, str) and role not in ROLES:
        plain = role.strip().lower()
        meant = _ROLES.get(plain, plain)
        if meant in ROLES:
            message["role"] = meant
            yield "unrecognized_role"


def _keys(message: dict[str, Any]) -> Iterator[str]:
    """What a server refuses or never reads; the list of repairs shows what it was."""
    for key in [key for key in message if key not in MESSAGE_KEYS]:
        del message[key]
        yield "message_unrecognized_key"


def _content(message: dict[str, Any]) -> Iterator[str]:
    """A number as text; what a function returned as the JSON of it."""
    content = message.get("content")
    returned = message.get("role") in ("tool", "function")
    is_parts = isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
    if (isinstance(content, int | float)) or (returned and isinstance(content, dict | list) and not is_parts):
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
    """Arguments are the JSON, in a string, of one object."""
    arguments = call.get("arguments")
    if arguments in (None, ""):
        call["arguments"] = "{}"
        yield "arguments_not_json"
    elif isinstance(arguments, dict):
        call["arguments"] = json.dumps(arguments, ensure_ascii=False)
        yield "arguments_not_json"
    elif isinstance(arguments, str):
        inner = _loaded(arguments)
        if isinstance(inner, str) and isinstance(_loaded(inner), dict):
            call["arguments"] = inner
            yield "arguments_encoded_twice"
        elif inner is None and (found := _python(arguments)) is not None:
            call["arguments"] = json.dumps(found, ensure_ascii=False)
            yield "arguments_not_json"


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _python(text: str) -> dict[str, Any] | None:
    """An object as Python prints it."""
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        value = ast.literal_eval(text.strip()) if len(text) < 100_000 else None
        if isinstance(value, dict) and json.loads(json.dumps(value, allow_nan=False)) == value:
            return value
    return None
