"""Checks of the order of messages: the role of the last one, the trained answers, and the results of calls."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from luthier.data.check.registry import Conversation, Findings, example_check
from luthier.data.examples.example import calls_in, name_of
from luthier.data.findings import make_finding


@example_check()
def assistant_messages(example: dict[str, Any], conversation: Conversation) -> Findings:
    answers = [message for _, message in conversation if message.get("role") == "assistant"]
    if not answers:
        yield make_finding("example_missing_assistant_message")
        return
    if all(message.get("weight") == 0 for message in answers):
        yield make_finding("nothing_trainable")
    index, last = conversation[-1]
    if last.get("role") != "assistant":
        yield replace(make_finding("last_message_not_assistant", value=last.get("role")), message_index=index)


@example_check(in_preference_input=True)
def results_without_call(example: dict[str, Any], conversation: Conversation) -> Findings:
    """A result refers to an earlier call: `tool` by the call's id, `function` by the function's name."""
    earlier: dict[str, list[Any]] = {"tool_call_id": [], "name": []}
    for index, message in conversation:
        role = message.get("role")
        key = "tool_call_id" if role == "tool" else "name" if role == "function" else None
        if key and (message.get(key) is None or message[key] not in earlier[key]):
            yield replace(
                make_finding("tool_result_without_call", key=key, value=message.get(key)), message_index=index
            )
        earlier["name"] += [name_of(call) for _, call in calls_in(message)]
        tool_calls = message.get("tool_calls")
        if isinstance(tool_calls, list):
            earlier["tool_call_id"] += [call.get("id") for call in tool_calls if isinstance(call, dict)]


@example_check()
def calls_without_result(example: dict[str, Any], conversation: Conversation) -> Findings:
    """Calls after which the conversation continues without their results, which never happens when serving.

    The last message may be a call: the model does not write results.
    """
    pending: list[tuple[int, str, Any]] = []
    for index, message in conversation:
        role = message.get("role")
        if role in ("tool", "function"):
            key = "tool_call_id" if role == "tool" else "name"
            left = [call for call in pending if call[2] != message.get(key)]
            # A result that names no call is reported by `results_without_call`, and is probably the missing one.
            pending = left if len(left) < len(pending) else []
            continue
        for call_index, path, _ in pending:
            yield replace(make_finding("call_without_result", key=path), message_index=call_index)
        pending = [(index, path, result_key) for path, result_key in _expected_results(message)]


def _expected_results(message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(path of a call, the key that its result must have): the call's id or, in the older form, the function's name."""
    if message.get("role") != "assistant":
        return
    tool_calls = message.get("tool_calls")
    for index, call in enumerate(tool_calls if isinstance(tool_calls, list) else []):
        if isinstance(call, dict) and isinstance(call.get("id"), str):
            yield f"tool_calls[{index}]", call["id"]
    if name := name_of(message.get("function_call")):
        yield "function_call", name
