"""Messages and tools from the wire → the one form that chat templates take; generated text → an answer.

The older `functions`/`function_call` and today's `tools`/`tool_calls` become the same: definitions as tools, calls with
arguments as an object. On the wire arguments are a JSON *string*; a template would encode that string a second time and
so teach the wrong target.
"""

from dataclasses import dataclass, field
from typing import Any

from luthier.data.jsonl import lossless_json
from luthier.types.errors import RenderError

_FUNCTION_KEYS = ("name", "description", "parameters", "strict")
_CALL_START, _CALL_END = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class Call:
    """`arguments` is the JSON text of an object."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Answer:
    """An assistant's answer: text, calls, or both."""

    content: str | None
    calls: list[Call] = field(default_factory=list)


def normalize_tools(
    tools: list[dict[str, Any]] | None, functions: list[dict[str, Any]] | None
) -> list[dict[str, Any]] | None:
    """Definitions in today's form; None without any.

    Keys are in one order and nulls are dropped, so that a model reads the same definitions from a training file and
    from a request. Raises RenderError for what is no list of definitions.
    """
    try:
        definitions = [tool.get("function", tool) for tool in tools or []] or functions or []
        return [
            {
                "type": "function",
                "function": {key: function[key] for key in _FUNCTION_KEYS if function.get(key) is not None},
            }
            for function in definitions
        ] or None
    except (AttributeError, TypeError) as error:
        raise RenderError("The definitions of functions are not a list of definitions.") from error


def normalize_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every message with `role`, `content` (text) and, if it calls, `tool_calls` with arguments as objects.

    Raises RenderError with the number of the message.
    """
    return [_normalize_any(index, message) for index, message in enumerate(messages)]


def _normalize_any(index: int, message: dict[str, Any]) -> dict[str, Any]:
    """Files and requests are validated first; for messages that were not, the error still names the message."""
    try:
        return _normalize(index, message)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RenderError(f"Message {index + 1} does not have the form of a message.") from error


def _normalize(index: int, message: dict[str, Any]) -> dict[str, Any]:
    role = {"developer": "system", "function": "tool"}.get(message["role"], message["role"])
    normalized: dict[str, Any] = {"role": role, "content": _text(index, message.get("content"))}
    calls = [call["function"] for call in message.get("tool_calls") or []]
    if message.get("function_call"):
        calls.append(message["function_call"])
    if calls:
        normalized["tool_calls"] = [
            {"type": "function", "function": {"name": call["name"], "arguments": _arguments(index, call)}}
            for call in calls
        ]
    if not isinstance(message.get("weight"), int | float | None):
        raise TypeError("a weight is a number")
    for key in ("name", "weight", "tool_call_id"):
        if message.get(key) is not None:
            normalized[key] = message[key]
    return normalized


def _text(index: int, content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    parts = [part for part in content if part.get("type") != "refusal"]
    if any(part.get("type") != "text" for part in parts):
        raise RenderError(f"Message {index + 1} has content that is not text; this base model reads text only.")
    return "".join(part["text"] for part in parts)


def _arguments(index: int, call: dict[str, Any]) -> dict[str, Any]:
    try:
        arguments = lossless_json.DECODER.decode(call["arguments"] or "{}")
    except (ValueError, RecursionError) as error:
        raise RenderError(f"Message {index + 1}: the arguments of {call['name']} are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise RenderError(f"Message {index + 1}: the arguments of {call['name']} are not a JSON object.")
    return arguments


def parse_answer(text: str) -> Answer:
    """The answer in generated text. Calls that cannot be parsed stay in the text, visible to the reader.

    The line break that a template puts between text and the first call is dropped.
    """
    calls: list[Call] = []
    content, done = "", 0
    while (start := text.find(_CALL_START, done)) >= 0:
        end = start + len(_CALL_START)
        parsed = _parse_call(text, end)
        if parsed:
            call, end = parsed
            calls.append(call)
            content += text[done:start].strip() if len(calls) > 1 else text[:start].removesuffix("\n")
        else:
            content += text[done:end]
        done = end
    if not calls:
        return Answer(text)
    content += text[done:].strip()
    return Answer(content if content and not content.isspace() else None, calls)


def _parse_call(text: str, start: int) -> tuple[Call, int] | None:
    """(the call that begins at `start`, where it ends). Its strings may contain the end mark too."""
    try:
        value, end = lossless_json.DECODER.raw_decode(text, _skip_space(text, start))
        name, arguments = value["name"], value.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    closing = _skip_space(text, end)
    end = closing + len(_CALL_END) if text.startswith(_CALL_END, closing) else end
    return Call(name, lossless_json.dumps(arguments)), end


def _skip_space(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start
