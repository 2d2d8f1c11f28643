"""Checks of a single message: its keys, role, content and weight. Calls are checked in `tool_calls`."""

from dataclasses import replace
from typing import Any

from luthier.data.check.registry import Findings, message_check
from luthier.data.examples.key_meanings import Meaning, is_certain_reasoning, is_empty, meaning_of, weight_from_flag
from luthier.data.findings import Finding, make_finding

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MESSAGE_KEYS = (
    "role", "content", "name", "function_call", "tool_calls", "tool_call_id", "weight", "refusal", "audio",
    "reasoning_content",
)  # fmt: skip
MEANING_CODES: dict[Meaning, str] = {
    "loss": "loss_key",
    "reasoning": "reasoning_key",
    "media": "not_text",
    "preference": "preference_key",
    "rating": "meaningful_key",
    "context": "meaningful_key",
    "system": "system_key",
    "arguments": "meaningful_key",
}
_ANSWER_KEYS = ("function_call", "tool_calls", "reasoning_content")  # only in assistant messages
_TEXT_KEYS = ("name", "tool_call_id", "refusal", "reasoning_content")
_MEDIA_WORDS = ("image", "audio", "video", "file", "media")
_TEXT_PARTS = ("input_text", "output_text", "refusal")  # types of content parts that contain only text
CALL_PARTS, REASONING_PARTS = frozenset(("tool_use", "tool_result")), frozenset(("thinking",))  # of Anthropic's API


@message_check
def message_keys(message: dict[str, Any]) -> Findings:
    for key, value in message.items():
        misplaced = key in _ANSWER_KEYS and value and message.get("role", "assistant") != "assistant"
        if key not in MESSAGE_KEYS and is_empty(value):
            continue
        if key not in MESSAGE_KEYS or misplaced:
            meaning = None if key in MESSAGE_KEYS else meaning_of(key, value)
            code = MEANING_CODES[meaning] if meaning else "message_unrecognized_key"
            yield make_finding(code, key=key, value=value, detail=_repair_doubt(message, key, meaning))
        elif key in _TEXT_KEYS and not isinstance(value, str | None):
            yield make_finding("content_type", key=key, value=value)


def _repair_doubt(message: dict[str, Any], key: str, meaning: Meaning | None) -> str:
    """ "unclear" for a key with a meaning that `--fix` repairs in other messages, but not in this one."""
    if meaning == "loss":
        is_repaired = weight_from_flag(message, key) is not None
    elif meaning == "reasoning":
        is_repaired = is_certain_reasoning(message, key)
    else:
        is_repaired = meaning != "system"
    return "" if is_repaired else "unclear"


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
    """An assistant message with a call needs no content. A `refusal` cannot replace it, because it is not rendered."""
    value = message.get("content")
    calls = message.get("function_call") is not None or bool(message.get("tool_calls"))
    if isinstance(message.get("audio"), dict) and message["audio"]:
        yield make_finding("not_text", key="audio", value=message["audio"])
    elif value is None and not calls:
        refusal = message.get("refusal")
        if isinstance(refusal, str) and refusal:
            yield make_finding("missing_content", key="refusal", value=refusal, detail="refusal")
        else:
            yield make_finding("missing_content" if "content" in message else "message_missing_key", key="content")
    elif value is not None and not _is_text(value):
        yield _content_fault(value)
    elif value is not None and not _has_text(value) and not calls:
        detail = {"tool": "result", "function": "result", "user": "question"}.get(str(message.get("role")), "")
        finding = make_finding("missing_content", key="content", detail=detail)
        may_be_meant = detail or (message.get("role") != "assistant" and value)  # white space
        yield replace(finding, severity="warning") if may_be_meant else finding


def _content_fault(value: Any) -> Finding:
    """The finding on content that is not text, with the types of its parts."""
    parts = value if isinstance(value, list) else [value]
    types = [str(part["type"]) for part in parts if isinstance(part, dict) and part.get("type", "text") != "text"]
    if not types:
        return make_finding("content_type", key="content", value=value)
    if all(name in _TEXT_PARTS for name in types):
        return make_finding("content_type", key="content", value=", ".join(dict.fromkeys(types)), detail="parts")
    other = next(name for name in types if name not in _TEXT_PARTS)
    if any(word in other for word in _MEDIA_WORDS):
        return make_finding("content_type", key="content", value=other, detail="media")
    if other in CALL_PARTS or other in REASONING_PARTS:
        detail = "calls" if CALL_PARTS.intersection(types) else "reasoning"
        return make_finding("content_type", key="content", value=", ".join(dict.fromkeys(types)), detail=detail)
    return make_finding("content_type", key="content", value=value)


def _is_text(value: Any) -> bool:
    """Whether it is a string or a list of text parts."""
    if not isinstance(value, list):
        return isinstance(value, str)
    parts = (part for part in value if isinstance(part, dict) and part.get("type") == "text")
    return sum(isinstance(part.get("text"), str) for part in parts) == len(value)


def _has_text(value: str | list[dict[str, str]]) -> bool:
    """Whether it has more than white space."""
    texts = [value] if isinstance(value, str) else [part["text"] for part in value]
    return any(map(str.strip, texts))


@message_check
def weight(message: dict[str, Any]) -> Findings:
    value = message.get("weight")
    if value is None:
        return
    if isinstance(value, bool) or value not in (0, 1) or message.get("role", "assistant") != "assistant":
        yield make_finding("weight_invalid", key="weight", value=value)
