"""Messages as they travel, made into the one form that templates read; and answers, made into messages again.

Legacy `functions`/`function_call` and today's `tools`/`tool_calls` become the same: definitions as tools, calls
with arguments as an object. (On the wire arguments are a JSON *string*; a template would encode that string once
more and so teach the wrong target.) Knows nothing about tokens or templates.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from luthier.types.errors import RenderError

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)


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
    """Definitions in today's form; None where there are none."""
    if tools:
        return tools
    return [{"type": "function", "function": function} for function in functions] if functions else None


def canonical(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every message with `role`, `content` (text) and, where it calls, `tool_calls` with arguments as objects.

    Raises RenderError naming the message.
    """
    return [_canonical(index, message) for index, message in enumerate(messages)]


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
        arguments = json.loads(call["arguments"] or "{}")
    except ValueError as error:
        raise RenderError(f"Message {index + 1}: the arguments of {call['name']} are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise RenderError(f"Message {index + 1}: the arguments of {call['name']} are not a JSON object.")
    return arguments


def parse(text: str) -> Answer:
    """The answer that a model wrote. Calls that cannot be read stay in the text, where they can be seen."""
    calls: list[Call] = []

    def take(match: re.Match[str]) -> str:
        try:
            call = json.loads(match[1])
            name, arguments = call["name"], call.get("arguments", {})
        except (ValueError, TypeError, KeyError, AttributeError):
            return match[0]
        if not isinstance(name, str) or not isinstance(arguments, dict):
            return match[0]
        calls.append(Call(name, json.dumps(arguments, ensure_ascii=False)))
        return ""

    rest = _CALL.sub(take, text)
    if not calls:
        return Answer(text)
    return Answer(rest.strip() or None, calls)
