"""Messages in the form of Anthropic's API → OpenAI's: content parts with reasoning, calls and results.

A message is rewritten if each of its parts is known and complete; otherwise it stays as it is, for the check to report.
"""

from collections.abc import Iterator
from typing import Any

from luthier.data.check.structure.messages import REASONING_PARTS
from luthier.data.jsonl import lossless_json

_Message = dict[str, Any]
_KEYS = {  # by the type of a part: the keys that are read, and those that can be ignored
    "text": ({"text"}, {"cache_control", "citations"}),
    "thinking": ({"thinking"}, {"signature", "cache_control"}),
    "tool_use": ({"id", "name", "input"}, {"cache_control", "caller"}),
    "tool_result": ({"tool_use_id", "content"}, {"is_error", "cache_control"}),
}


def rewrite_parts(messages: list[Any]) -> Iterator[str]:
    """Rewrites such messages in place; yields a code for each."""
    for index in range(len(messages) - 1, -1, -1):
        if (rewritten := _rewritten(messages[index])) is not None:
            messages[index : index + 1] = rewritten
            yield "content_type"


def _rewritten(message: Any) -> list[_Message] | None:
    parts = message.get("content") if isinstance(message, dict) else None
    if not isinstance(parts, list) or not all(_is_known(part) for part in parts):
        return None
    types = {part["type"] for part in parts}
    if message.get("role") == "assistant" and types & (REASONING_PARTS | {"tool_use"}) and "tool_result" not in types:
        return _answer(message, parts)
    if message.get("role") == "user" and "tool_result" in types and not types & (REASONING_PARTS | {"tool_use"}):
        return _results(message, parts)
    return None


def _is_known(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in _KEYS:
        return False
    required_keys, optional_keys = _KEYS[kind]
    missing_keys = required_keys - part.keys() - {"content"}  # a result may have none
    texts = ("text", "thinking", "id", "name", "tool_use_id")
    return (
        not missing_keys
        and part.keys() <= required_keys | optional_keys | {"type"}
        and not part.get("is_error")
        and all(isinstance(part[key], str) for key in texts if key in part)
    )


def _texts(parts: list[_Message], kind: str) -> list[str]:
    return [part[kind] for part in parts if part["type"] == kind]


def _answer(message: _Message, parts: list[_Message]) -> list[_Message] | None:
    kinds = [part["type"] for part in parts]
    if kinds != sorted(kinds, key=["thinking", "text", "tool_use"].index) or "reasoning_content" in message:
        return None  # a message has its reasoning first, then its text, then its calls
    uses = [part for part in parts if part["type"] == "tool_use"]
    calls = [
        {
            "id": part["id"],
            "type": "function",
            "function": {"name": part["name"], "arguments": lossless_json.dumps(part["input"])},
        }
        for part in uses
    ]
    rest = {key: value for key, value in message.items() if key != "content"}
    reasoning, text = "\n".join(_texts(parts, "thinking")), "\n".join(_texts(parts, "text"))
    return [
        rest
        | {"content": text or None}
        | ({"reasoning_content": reasoning} if reasoning else {})
        | ({"tool_calls": calls} if calls else {})
    ]


def _results(message: _Message, parts: list[_Message]) -> list[_Message] | None:
    """The results as messages, then the user's text; None if a result has content that is not text."""
    if message.keys() != {"role", "content"}:
        return None
    results = []
    for part in parts:
        if part["type"] == "tool_result":
            content = part.get("content") or ""
            if not isinstance(content, str) and not (isinstance(content, list) and all(map(_is_text, content))):
                return None
            results.append({"role": "tool", "tool_call_id": part["tool_use_id"], "content": content})
    text = "\n".join(_texts(parts, "text"))
    return [*results, *([{"role": "user", "content": text}] if text else [])]


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {"type", "text"} and part["type"] == "text"
