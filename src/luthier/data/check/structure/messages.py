"""Checks of one message: its keys, role, content and weight. Calls are checked in `tool_calls`."""

from dataclasses import replace
from typing import Any

from luthier.data.check.registry import Findings, message_check
from luthier.data.findings import make_finding

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MESSAGE_KEYS = ("role", "content", "name", "function_call", "tool_calls", "tool_call_id", "weight", "refusal", "audio")
_CALL_KEYS = ("function_call", "tool_calls")
_TEXT_KEYS = ("name", "tool_call_id", "refusal")


@message_check
def message_keys(message: dict[str, Any]) -> Findings:
    for key, value in message.items():
        misplaced = key in _CALL_KEYS and value and message.get("role", "assistant") != "assistant"
        if key not in MESSAGE_KEYS or misplaced:
            yield make_finding("message_unrecognized_key", key=key)
        elif key in _TEXT_KEYS and not isinstance(value, str | None):
            yield make_finding("content_type", key=key, value=value)


@message_check
def role(message: dict[str, Any]) -> Findings:
    if "role" not in message:
        yield make_finding("message_missing_key", key="role")
    elif message["role"] not in ROLES:
        yield make_finding(
            "unrecognized_role", key="role", value=message["role"], detail=", ".join(f"'{r}'" for r in ROLES)
        )


@message_check
def content(message: dict[str, Any]) -> Findings:
    """An assistant message with a call needs no content. A `refusal` does not replace it: it is not rendered."""
    value = message.get("content")
    calls = message.get("function_call") is not None or bool(message.get("tool_calls"))
    if value is None and not calls:
        yield make_finding("missing_content" if "content" in message else "message_missing_key", key="content")
    elif value is not None and not _is_text(value):
        yield make_finding("content_type", key="content", value=value)
    elif value is not None and not _has_text(value) and not calls:
        finding = make_finding("missing_content", key="content")
        is_result = message.get("role") in ("tool", "function")  # a function may return nothing
        yield replace(finding, severity="warning") if is_result else finding


def _is_text(value: Any) -> bool:
    """A string, or a list of text parts."""
    if not isinstance(value, list):
        return isinstance(value, str)
    parts = (part for part in value if isinstance(part, dict) and part.get("type") == "text")
    return sum(isinstance(part.get("text"), str) for part in parts) == len(value)


def _has_text(value: str | list[dict[str, str]]) -> bool:
    return bool(value) if isinstance(value, str) else any(part["text"] for part in value)


@message_check
def weight(message: dict[str, Any]) -> Findings:
    value = message.get("weight")
    if value is None:
        return
    if isinstance(value, bool) or value not in (0, 1) or message.get("role", "assistant") != "assistant":
        yield make_finding("weight_invalid", key="weight", value=value)
