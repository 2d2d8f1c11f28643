"""Assembles the server-sent events of a streamed chat completion into the object of an unstreamed one."""

from collections.abc import Iterator
from typing import Any

from luthier.types.strict_json import parse_json

_DONE = b"[DONE]"
_SHARED = ("id", "created", "model", "service_tier", "system_fingerprint", "usage")  # of all choices


def assemble_stream(events: bytes) -> dict[str, Any] | None:
    """Return the chat completion; None for a stream that ended early, with an error, or before every choice was
    finished.

    Raises BadRequestError for an event that is not JSON.
    """
    completion: dict[str, Any] = {"object": "chat.completion"}
    choices: dict[int, dict[str, Any]] = {}
    payloads = list(_payloads(events))
    if not payloads or payloads.pop() != _DONE:
        return None
    for chunk in map(parse_json, payloads):
        if not isinstance(chunk, dict) or "error" in chunk:
            return None
        completion |= {name: chunk[name] for name in _SHARED if chunk.get(name) is not None}
        for part in chunk.get("choices") or []:
            _extend_choice(choices.setdefault(part["index"], _empty_choice(part["index"])), part)
    if not choices or not all(choice["finish_reason"] for choice in choices.values()):
        return None
    ordered = [choices[index] for index in sorted(choices)]
    for choice in ordered:
        calls = choice["message"].pop("tool_calls")
        if calls:
            choice["message"]["tool_calls"] = [calls[index] for index in sorted(calls)]
    return completion | {"choices": ordered}


def _payloads(events: bytes) -> Iterator[bytes]:
    """The data of each event, up to and including the end marker."""
    for line in events.splitlines():
        if line.startswith(b"data:"):
            payload = line.removeprefix(b"data:").strip()
            yield payload
            if payload == _DONE:
                return


def _empty_choice(index: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "tool_calls": {}}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": None}


def _extend_choice(choice: dict[str, Any], part: dict[str, Any]) -> None:
    delta, message = part.get("delta") or {}, choice["message"]
    for name in ("content", "refusal", "reasoning_content"):
        if delta.get(name) is not None:
            message[name] = (message.get(name) or "") + delta[name]
    for call in delta.get("tool_calls") or []:
        _extend_call(message["tool_calls"].setdefault(call["index"], {"function": {}}), call)
    if delta.get("function_call"):
        _extend_function(message.setdefault("function_call", {}), delta["function_call"])
    if part.get("logprobs"):
        choice["logprobs"] = choice["logprobs"] or {"content": None, "refusal": None}
        for name in ("content", "refusal"):
            if part["logprobs"].get(name):
                choice["logprobs"][name] = (choice["logprobs"][name] or []) + part["logprobs"][name]
    choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]


def _extend_call(call: dict[str, Any], delta: dict[str, Any]) -> None:
    call |= {name: delta[name] for name in ("id", "type") if delta.get(name)}
    _extend_function(call["function"], delta.get("function") or {})


def _extend_function(function: dict[str, str], delta: dict[str, Any]) -> None:
    """Add a piece of a call: the name comes once, the arguments in pieces."""
    function["name"] = function.get("name") or delta.get("name") or ""
    function["arguments"] = function.get("arguments", "") + (delta.get("arguments") or "")
