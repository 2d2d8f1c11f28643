"""Messages and tools in the API's form → the one form that chat templates take.

The older `functions`/`function_call` and today's `tools`/`tool_calls` become the same: definitions as tools, calls with
arguments as an object. In the API, arguments are a JSON *string*; a template would encode that string a second time,
and the model would learn the wrong target.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from luthier.data.jsonl import lossless_json
from luthier.types.errors import RenderError

_FUNCTION_KEYS = ("name", "description", "parameters", "strict")


@dataclass(frozen=True)
class Call:
    """A function call; `arguments` is the JSON text of an object."""

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

    Keys are put in a fixed order and nulls are dropped, so that a model reads the same definitions from a training file
    and from a request. Raises RenderError for anything but a list of definitions.
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


def normalize_messages(
    messages: list[dict[str, Any]], replay: Callable[[str], Any] | None = None
) -> list[dict[str, Any]]:
    """Every message with `role`, `content` (text) and, if it calls, `tool_calls` with arguments as objects.

    Args:
        replay: Converts arguments that are not a JSON object, which a model may have written earlier in a
            conversation, to what the template gets. None: such arguments are an error, as in training data.

    Raises:
        RenderError: With the number of the message.
    """
    normalized = [_normalize_any(index, message, replay) for index, message in enumerate(messages)]
    _number_calls(normalized, messages)
    return normalized


def _number_calls(normalized: list[dict[str, Any]], messages: list[dict[str, Any]]) -> None:
    """Numbers the calls with ids of nine characters, as some templates require, and gives results their calls' ids.

    The ids in a file or a request are random, so there is nothing to learn from them.
    """
    new_ids: dict[str, str] = {}
    unanswered: dict[str, None] = {}  # in order
    count = 0
    for message, original in zip(normalized, messages, strict=True):
        sent = original.get("tool_calls") or []
        for index, call in enumerate(message.get("tool_calls") or []):
            count += 1
            call["id"] = f"call{count:05d}"
            unanswered[call["id"]] = None
            if index < len(sent):
                new_ids[str(sent[index].get("id"))] = call["id"]
        if message["role"] == "tool":
            new_id = new_ids.get(str(original.get("tool_call_id"))) or next(iter(unanswered), None)
            if new_id:
                message["tool_call_id"] = new_id
                unanswered.pop(new_id, None)


def _normalize_any(index: int, message: dict[str, Any], replay: Callable[[str], Any] | None) -> dict[str, Any]:
    """Files and requests are validated before; if a message was not, the error still has its number."""
    try:
        return _normalize(index, message, replay)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RenderError(f"Message {index + 1} does not have the form of a message.") from error


def _normalize(index: int, message: dict[str, Any], replay: Callable[[str], Any] | None) -> dict[str, Any]:
    role = {"developer": "system", "function": "tool"}.get(message["role"], message["role"])
    normalized: dict[str, Any] = {"role": role, "content": _text(index, message.get("content"))}
    calls = [call["function"] for call in message.get("tool_calls") or []]
    if message.get("function_call"):
        calls.append(message["function_call"])
    if calls:
        normalized["tool_calls"] = [
            {"type": "function", "function": {"name": call["name"], "arguments": _arguments(index, call, replay)}}
            for call in calls
        ]
    if not isinstance(message.get("weight"), int | float | None):
        raise TypeError("a weight is a number")
    if role == "assistant" and message.get("reasoning_content"):
        normalized["reasoning_content"] = _text(index, message["reasoning_content"])
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


def _arguments(index: int, call: dict[str, Any], replay: Callable[[str], Any] | None) -> Any:
    if replay:
        return _replayed_arguments(call["arguments"] or "{}", replay)
    try:
        arguments = lossless_json.DECODER.decode(call["arguments"] or "{}")
    except (ValueError, RecursionError) as error:
        raise RenderError(f"Message {index + 1}: the arguments of {call['name']} are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise RenderError(f"Message {index + 1}: the arguments of {call['name']} are not a JSON object.")
    return arguments


def _replayed_arguments(text: str, replay: Callable[[str], Any]) -> Any:
    """Accepts any text; an escaped lone surrogate, which no tokenizer can encode, becomes a question mark."""
    try:
        arguments = lossless_json.DECODER.decode(text)
        encoded = lossless_json.dumps(arguments)
        encodable = encoded.encode("utf-8", "replace").decode()
        if encodable != encoded:
            text, arguments = encodable, lossless_json.DECODER.decode(encodable)
    except ValueError:
        return replay(text)
    except RecursionError:  # nested too deep to be rendered as JSON
        return text
    if arguments is None:
        return {}
    return arguments if isinstance(arguments, dict) else replay(text)
