"""One message: its keys, role, content and weight. Calls are looked at elsewhere."""

from dataclasses import replace
from typing import Any

from luthier.data.check.form.common import Found
from luthier.data.findings import problem

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MESSAGE_KEYS = ("role", "content", "name", "function_call", "tool_calls", "tool_call_id", "weight", "refusal", "audio")
_CALL_KEYS = ("function_call", "tool_calls")
_TEXT_KEYS = ("name", "tool_call_id", "refusal")


def keys(message: dict[str, Any]) -> Found:
    for key, value in message.items():
        misplaced = key in _CALL_KEYS and value and message.get("role", "assistant") != "assistant"
        if key not in MESSAGE_KEYS or misplaced:
            yield problem("message_unrecognized_key", key=key)
        elif key in _TEXT_KEYS and not isinstance(value, str | None):
            yield problem("content_type", key=key, seen=value)


def role(message: dict[str, Any]) -> Found:
    if "role" not in message:
        yield problem("message_missing_key", key="role")
    elif message["role"] not in ROLES:
        yield problem("unrecognized_role", key="role", seen=message["role"], detail=", ".join(f"'{r}'" for r in ROLES))


def content(message: dict[str, Any]) -> Found:
    """An assistant that calls needs no content (a `refusal` is not rendered, so it does not stand in for content)."""
    found = message.get("content")
    calls = message.get("function_call") is not None or bool(message.get("tool_calls"))
    if found is None and not calls:
        yield problem("missing_content" if "content" in message else "message_missing_key", key="content")
    elif found is not None and not _is_text(found):
        yield problem("content_type", key="content", seen=found)
    elif found is not None and not _has_text(found) and not calls:
        finding = problem("missing_content", key="content")
        returned = message.get("role") in ("tool", "function")  # a function may well return nothing
        yield replace(finding, severity="warning") if returned else finding


def _is_text(content: Any) -> bool:
    """A string, or a list of text parts."""
    if not isinstance(content, list):
        return isinstance(content, str)
    parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
    return sum(isinstance(part.get("text"), str) for part in parts) == len(content)


def _has_text(content: str | list[dict[str, str]]) -> bool:
    return bool(content) if isinstance(content, str) else any(part["text"] for part in content)


def weight(message: dict[str, Any]) -> Found:
    found = message.get("weight")
    if found is None:
        return
    if isinstance(found, bool) or found not in (0, 1) or message.get("role", "assistant") != "assistant":
        yield problem("weight_invalid", key="weight", seen=found)
