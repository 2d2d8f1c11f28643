"""Messages as they travel, made into the one form that templates read; and answers, made into messages again.

Legacy `functions`/`function_call` and today's `tools`/`tool_calls` become the same: definitions as tools, calls
with arguments as an object. (On the wire arguments are a JSON *string*; a template would encode that string once
more and so teach the wrong target.) Knows nothing about tokens or templates.
"""

from dataclasses import dataclass, field
from typing import Any

from luthier.data.jsonl import lossless_json
from luthier.types.errors import RenderError

_DEFINITION = ("name", "description", "parameters", "strict")
_OPENS, _CLOSES = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class Call:
    """`arguments` is the JSON text of an object."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Answer:
    """What an assistant said: text, calls, or both."""

    content: str | None
    calls: list[Call] = field(default_factory=list)


def definitions(
    tools: list[dict[str, Any]] | None, functions: list[dict[str, Any]] | None
) -> list[dict[str, Any]] | None:
    """Definitions in today's form; None where there are none.

    Keys stand in one order and nulls are left out, so that the same definitions read the same to the model, whether
    they come from a training file or from a request. Raises RenderError for what is no list of definitions.
    """
    try:
        plain = [tool.get("function", tool) for tool in tools or []] or functions or []
        return [
            {"type": "function", "function": {key: one[key] for key in _DEFINITION if one.get(key) is not None}}
            for one in plain
        ] or None
    except (AttributeError, TypeError) as error:
        raise RenderError("The definitions of functions are not a list of definitions.") from error


def canonical(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every message with `role`, `content` (text) and, where it calls, `tool_calls` with arguments as objects.

    Raises RenderError naming the message.
    """
    return [_formed(index, message) for index, message in enumerate(messages)]


def _formed(index: int, message: dict[str, Any]) -> dict[str, Any]:
    """Who reads a file or a request looks at its form first; what nobody has looked at must still name its message."""
    try:
        return _canonical(index, message)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RenderError(f"Message {index + 1} does not have the form of a message.") from error


def _canonical(index: int, message: dict[str, Any]) -> dict[str, Any]:
    role = {"developer": "system", "function": "tool"}.get(message["role"], message["role"])
    made: dict[str, Any] = {"role": role, "content": _content(index, message.get("content"))}
    calls = [call["function"] for call in message.get("tool_calls") or []]
    if message.get("function_call"):
        calls.append(message["function_call"])
    if calls:
        made["tool_calls"] = [
            {"type": "function", "function": {"name": call["name"], "arguments": _arguments(index, call)}}
            for call in calls
        ]
    if not isinstance(message.get("weight"), int | float | None):
        raise TypeError("a weight is a number")
    for key in ("name", "weight", "tool_call_id"):
        if message.get(key) is not None:
            made[key] = message[key]
    return made


def _content(index: int, content: Any) -> str:
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


def parse(text: str) -> Answer:
    """The answer that a model wrote. Calls that cannot be read stay in the text, where they can be seen.

    The line break that a template puts between text and the first call is not the text's.
    """
    calls: list[Call] = []
    rest, done = "", 0
    while (at := text.find(_OPENS, done)) >= 0:
        found = _call_at(text, at + len(_OPENS))
        end = at + len(_OPENS)
        if found:
            call, end = found
            calls.append(call)
            rest += text[done:at].strip() if len(calls) > 1 else text[:at].removesuffix("\n")
        else:
            rest += text[done:end]
        done = end
    if not calls:
        return Answer(text)
    rest += text[done:].strip()
    return Answer(rest if rest and not rest.isspace() else None, calls)


def _call_at(text: str, start: int) -> tuple[Call, int] | None:
    """The call written from `start` on, and where it ends; its strings may hold the closing mark too."""
    try:
        value, end = lossless_json.DECODER.raw_decode(text, _past_space(text, start))
        name, arguments = value["name"], value.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    closing = _past_space(text, end)
    end = closing + len(_CLOSES) if text.startswith(_CLOSES, closing) else end
    return Call(name, lossless_json.dumps(arguments)), end


def _past_space(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start
