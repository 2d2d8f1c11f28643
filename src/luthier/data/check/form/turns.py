"""The order of turns: who ends the conversation, what is trained at all, and which result answers which call."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.data.check.form.common import Conversation, Found
from luthier.data.examples.example import calls_in, name_of
from luthier.data.findings import problem


def assistant(example: dict[str, Any], conversation: Conversation) -> Found:
    answers = [message for _, message in conversation if message.get("role") == "assistant"]
    if not answers:
        yield problem("example_missing_assistant_message")
        return
    if all(message.get("weight") == 0 for message in answers):
        yield problem("nothing_trainable")
    index, last = conversation[-1]
    if last.get("role") != "assistant":
        yield replace(problem("last_message_not_assistant", seen=last.get("role")), message_index=index)


def results(example: dict[str, Any], conversation: Conversation) -> Found:
    """Results follow their call: `tool` by the call's id, `function` by the function's name."""
    known: dict[str, list[Any]] = {"tool_call_id": [], "name": []}
    for index, message in conversation:
        role = message.get("role")
        key = "tool_call_id" if role == "tool" else "name" if role == "function" else None
        if key and (message.get(key) is None or message[key] not in known[key]):
            yield replace(problem("tool_result_without_call", key=key, seen=message.get(key)), message_index=index)
        known["name"] += [name_of(call) for _, call in calls_in(message)]
        tool_calls = message.get("tool_calls")
        if isinstance(tool_calls, list):
            known["tool_call_id"] += [call.get("id") for call in tool_calls if isinstance(call, dict)]


def unanswered(example: dict[str, Any], conversation: Conversation) -> Found:
    """Calls that the conversation goes on after without their results: at serving time there always are some.

    The last message may well be a call: what comes back is not the model's to write.
    """
    waiting: list[tuple[int, str, Any]] = []
    for index, message in conversation:
        role = message.get("role")
        if role in ("tool", "function"):
            key = "tool_call_id" if role == "tool" else "name"
            left = [one for one in waiting if one[2] != message.get(key)]
            # A result that names no call is told of by `results`; it is most likely the one that is missing here.
            waiting = left if len(left) < len(waiting) else []
            continue
        for place, path, _ in waiting:
            yield replace(problem("call_without_result", key=path), message_index=place)
        waiting = [(index, path, answer) for path, answer in _expected(message)]


def _expected(message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What names the result of each call: the call's id, or (older) the function's name."""
    if message.get("role") != "assistant":
        return
    tool_calls = message.get("tool_calls")
    for index, call in enumerate(tool_calls if isinstance(tool_calls, list) else []):
        if isinstance(call, dict) and isinstance(call.get("id"), str):
            yield f"tool_calls[{index}]", call["id"]
    if name := name_of(message.get("function_call")):
        yield "function_call", name
