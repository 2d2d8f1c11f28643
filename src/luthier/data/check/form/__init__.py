"""What is wrong with the form of one parsed example, whatever its kind.

Small checks, each a generator that yields what it finds and knows nothing of the fault's place; the drivers fill in the
message, and `check` the line. To add a check, write one and name it in `MESSAGE_CHECKS` or `EXAMPLE_CHECKS`. What an
example teaches is another matter: see `quality`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from luthier.data.check.form.calls import calls, definitions, schemas, undefined
from luthier.data.check.form.common import Conversation, Found, unknown_keys
from luthier.data.check.form.messages import content, keys, role, weight
from luthier.data.check.form.turns import assistant, results, unanswered
from luthier.data.examples.example import kind_of
from luthier.data.findings import problem

EXAMPLE_KEYS = ("messages", "tools", "functions", "parallel_tool_calls")
_OUTPUTS = (("preferred_output", "preferred_completion"), ("non_preferred_output", "non_preferred_completion"))
_INPUT_KEYS = ("messages", "tools", "parallel_tool_calls")

MESSAGE_CHECKS: tuple[Callable[[dict[str, Any]], Found], ...] = (keys, role, content, weight, calls)
EXAMPLE_CHECKS: tuple[Callable[[dict[str, Any], Conversation], Found], ...] = (
    definitions,
    undefined,
    schemas,
    assistant,
    results,
    unanswered,
)


def check_example(example: dict[str, Any]) -> Found:
    """What is wrong with one parsed example, taken for itself; the findings name messages but no line."""
    kind = kind_of(example)
    if kind == "preference":
        yield from _check_preference(example)
        return
    if kind == "completion":
        yield from _check_pair(example)
        return
    if kind == "chat":
        yield from unknown_keys(example, EXAMPLE_KEYS)
    yield from _check_conversation(example, EXAMPLE_CHECKS)


def check_message(message: Any) -> Found:
    """What is wrong with one message, taken for itself."""
    if not isinstance(message, dict):
        yield problem("message_type", seen=message)
        return
    for check in MESSAGE_CHECKS:
        yield from check(message)


def _check_conversation(
    example: dict[str, Any], checks: tuple[Callable[[dict[str, Any], Conversation], Found], ...]
) -> Found:
    messages = example.get("messages")
    if not isinstance(messages, list) or not messages:
        yield problem("missing_messages_list", seen=messages)
        return
    for index, message in enumerate(messages):
        yield from (replace(finding, message_index=index) for finding in check_message(message))
    conversation = [(index, message) for index, message in enumerate(messages) if isinstance(message, dict)]
    for check in checks:
        yield from check(example, conversation)


def _check_pair(example: dict[str, Any]) -> Found:
    yield from unknown_keys(example, ("prompt", "completion"))
    for key in ("prompt", "completion"):
        if not isinstance(example[key], str):
            yield problem("content_type", key=key, seen=example[key])
    if example["completion"] == "":  # an empty prompt is fine: the model then learns to speak unasked
        yield problem("missing_content", key="completion")


def _check_preference(example: dict[str, Any]) -> Found:
    """`input` up to the answer, and two answers to it: the one to prefer and the one not to."""
    known = ("input", *(name for names in _OUTPUTS for name in names))
    yield from unknown_keys(example, known)
    given = example.get("input")
    if not isinstance(given, dict):
        yield problem("preference_invalid", key="input", seen=given)
        given = {}
    else:
        yield from unknown_keys(given, _INPUT_KEYS)
        yield from _check_conversation(given, (definitions, undefined, schemas, results))
    answers = []
    for names in _OUTPUTS:
        name = next((name for name in names if name in example), names[0])
        answers.append(example.get(name))
        yield from _check_output(given, name, example.get(name))
    if answers[0] and answers[0] == answers[1]:
        yield problem("preference_same", key="non_preferred_output")


def _check_output(given: dict[str, Any], name: str, output: Any) -> Found:
    """One answer: exactly one message, the assistant's, that ends the conversation of `input`."""
    if not isinstance(output, list) or not output:
        yield problem("preference_invalid", key=name, seen=output)
        return
    faults = [fault for message in output for fault in check_message(message)]
    yield from (replace(fault, key=f"{name}.{fault.key}" if fault.key else name) for fault in faults)
    if len(output) > 1 or not isinstance(output[0], dict) or output[0].get("role") != "assistant":
        roles = [message.get("role") if isinstance(message, dict) else None for message in output]
        if not faults:
            yield problem("preference_invalid", key=name, seen=roles)
        return
    turns = [(0, output[0])]
    for check in (undefined, schemas):
        yield from (replace(fault, message_index=None, key=f"{name}.{fault.key}") for fault in check(given, turns))
