"""Structural checks: what is wrong with the form of one parsed example, of any kind.

The checks are small generators in the modules of this package, each registered in `check.registry`. They yield
findings without a position; the drivers here add the message's index, and `file_check` the line.
"""

from dataclasses import replace
from typing import Any

from luthier.data.check.registry import EXAMPLE_CHECKS, MESSAGE_CHECKS, Conversation, ExampleCheck, Findings

# Importing registers the checks, which run in this order.
from luthier.data.check.structure import messages, tool_calls, turns  # noqa: F401
from luthier.data.check.structure.messages import MEANING_CODES, ROLES
from luthier.data.examples.example import kind_of
from luthier.data.examples.foreign_forms import rejected_key
from luthier.data.examples.key_meanings import is_long_text, may_be_trained, meaning_of, system_key_of
from luthier.data.findings import Finding, make_finding, printable
from luthier.data.jsonl.exact_values import held_value

_EXAMPLE_KEYS = ("messages", "tools", "functions", "parallel_tool_calls")
_COMPLETION_KEYS = ("prompt", "completion")
_OUTPUT_KEYS = (("preferred_output", "preferred_completion"), ("non_preferred_output", "non_preferred_completion"))
_PREFERENCE_KEYS = ("input", *(name for names in _OUTPUT_KEYS for name in names))
_INPUT_KEYS = ("messages", "tools", "parallel_tool_calls")
_MISFIT_KEYS = {"columns", "row", "row_line"}


def check_example(example: dict[str, Any], method: str = "supervised") -> Findings:
    """The structural faults of one parsed example; the findings have message indices but no line.

    `method`: the training method, which the keys of an example do not always show.
    """
    if isinstance(text := example.get("messages"), str) and (entries := held_value(text)) and isinstance(entries, list):
        yield make_finding("missing_messages_list", value=text, detail="“messages”: text")
        yield from check_example(example | {"messages": entries}, method)
        return
    kind = kind_of(example)
    if method == "reinforcement" and kind == "chat":
        yield from _check_item(example)
        return
    if kind == "preference":
        yield from _check_preference(example)
        return
    if kind == "completion":
        yield from _check_completion(example)
        return
    if is_misfit(example):
        yield from _check_misfit(example)
        return
    if kind is None and (key := rejected_key(example)):
        answers = example[key] if isinstance(example[key], list) else []
        is_several = len(answers) > 1 and all(isinstance(answer, str) for answer in answers)
        detail = "several" if is_several else "unread"
        yield make_finding("preference_invalid", key=key, value=example[key], detail=detail)
        return
    if kind == "chat":
        yield from _unknown_keys(example, _EXAMPLE_KEYS)
    yield from _check_conversation(example, list(EXAMPLE_CHECKS.values()))


def is_misfit(example: dict[str, Any]) -> bool:
    """Whether it is a table row that does not match its header, in the form that `convert` writes."""
    return example.keys() == _MISFIT_KEYS


def check_message(message: Any) -> Findings:
    """The faults of one message on its own."""
    if not isinstance(message, dict):
        yield make_finding("message_type", value=message)
        return
    for check in MESSAGE_CHECKS.values():
        yield from check(message)


def _unknown_keys(value: dict[str, Any], allowed: tuple[str, ...]) -> Findings:
    """Findings on keys that are not `allowed`, except copies of a message's text."""
    for key, member in value.items():
        if key not in allowed and not _is_copy(member, value.get("messages")):
            meaning = meaning_of(key, member)
            code = MEANING_CODES[meaning] if meaning else "unrecognized_key"
            is_repaired = meaning == "system" and system_key_of(value) == key
            text = "text" if is_long_text(key, member) else ""
            detail = {"loss": "example", "reasoning": "unclear", "system": "" if is_repaired else "unclear", None: text}
            yield make_finding(code, key=key, value=member, detail=detail.get(meaning, ""))


def _is_copy(member: Any, conversation: Any) -> bool:
    """Whether it is the whole text of some message, so that nothing is lost without it."""
    return (
        isinstance(member, str)
        and len(member) > 1
        and isinstance(conversation, list)
        and any(isinstance(message, dict) and member in message.values() for message in conversation)
    )


def _check_misfit(row: dict[str, Any]) -> Findings:
    cells, columns = (value if isinstance(value, list) else [] for value in (row["row"], row["columns"]))
    number = str(row["row_line"])
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    if columns and texts[: len(columns)] == columns:
        yield make_finding("header_repeated", key=number, value=", ".join(columns))
    elif any('"' in text for text in texts):
        yield make_finding("quotation_unclosed", key=number, value=" | ".join(map(str, cells)))
    else:
        yield make_finding("row_misfit", key=number, value=len(cells), detail=str(len(columns)))


def _check_conversation(example: dict[str, Any], checks: list[ExampleCheck]) -> Findings:
    entries = example.get("messages")
    if not isinstance(entries, list) or not entries:
        is_text = isinstance(entries, str) and bool(entries.strip())
        detail = "“messages”: other text" if is_text else printable(", ".join(example) or "–")
        yield make_finding("missing_messages_list", value=entries, detail=detail)
        return
    conversation = [(index, message) for index, message in enumerate(entries) if isinstance(message, dict)]
    faults = [
        replace(finding, message_index=index)
        for index, message in enumerate(entries)
        for finding in check_message(message)
    ]
    if EXAMPLE_CHECKS["assistant_messages"] in checks and any(fault.code == "loss_key" for fault in faults):
        faults = _without_answer(faults, conversation)
    yield from faults
    for check in checks:
        yield from check.function(example, conversation)


def _without_answer(faults: list[Finding], conversation: Conversation) -> list[Finding]:
    """The faults; if flags of the loss leave no answer to be learned, those on the answers say so."""
    if any(may_be_trained(message) for _, message in conversation):
        return faults
    answers = {index for index, message in conversation if message.get("role") == "assistant"}
    return [
        replace(fault, detail="nothing trainable")
        if fault.code == "loss_key" and not fault.detail and fault.message_index in answers
        else fault
        for fault in faults
    ]


def _check_completion(example: dict[str, Any]) -> Findings:
    yield from _unknown_keys(example, _COMPLETION_KEYS)
    for key in _COMPLETION_KEYS:
        if not isinstance(example[key], str):
            yield make_finding("content_type", key=key, value=example[key])
    completion = example["completion"]
    # An empty prompt is fine: the model then learns unconditional text.
    if isinstance(completion, str) and not completion.strip():
        yield make_finding("missing_content", key="completion")


def _check_preference(example: dict[str, Any]) -> Findings:
    """`input` up to the answer, and two answers to it: the preferred one and the other."""
    yield from _unknown_keys(example, _PREFERENCE_KEYS)
    prompt = example.get("input")
    if not isinstance(prompt, dict):
        yield make_finding("preference_invalid", key="input", value=prompt)
        prompt = {}
    else:
        yield from _unknown_keys(prompt, _INPUT_KEYS)
        checks = [check for check in EXAMPLE_CHECKS.values() if check.in_preference_input]
        yield from _check_conversation(prompt, checks)
        entries = prompt.get("messages")
        if isinstance(entries, list) and entries and _is_answer(entries[-1]):
            finding = make_finding("preference_invalid", key="input", value="assistant", detail="prompt")
            yield replace(finding, severity="warning", message_index=len(entries) - 1)
    answers = []
    for names in _OUTPUT_KEYS:
        name = next((name for name in names if name in example), names[0])
        answers.append(example.get(name))
        yield from _check_output(prompt, name, example.get(name))
    if answers[0] and answers[0] == answers[1]:
        yield make_finding("preference_same", key="non_preferred_output")


def _is_answer(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant"


def _check_item(item: dict[str, Any]) -> Findings:
    """An item of reinforcement fine-tuning: messages up to the answer. Graders may read any other key."""
    checks = [check for check in EXAMPLE_CHECKS.values() if check.in_preference_input]
    yield from _check_conversation(item, checks)
    entries = item.get("messages")
    last = entries[-1] if isinstance(entries, list) and entries else None
    if isinstance(last, dict) and last.get("role") in ROLES and last["role"] != "user":
        finding = make_finding("item_last_message", value=last["role"])
        yield replace(finding, message_index=len(item["messages"]) - 1)


def _check_output(prompt: dict[str, Any], name: str, output: Any) -> Findings:
    """One answer: exactly one assistant message, which ends the conversation of `input`."""
    if not isinstance(output, list) or not output:
        yield make_finding("preference_invalid", key=name, value=output)
        return
    faults = [fault for message in output for fault in check_message(message)]
    yield from (replace(fault, key=f"{name}.{fault.key}" if fault.key else name) for fault in faults)
    if len(output) > 1 or not isinstance(output[0], dict) or output[0].get("role") != "assistant":
        roles = [message.get("role") if isinstance(message, dict) else None for message in output]
        if not faults:
            yield make_finding("preference_invalid", key=name, value=roles)
        return
    for check in EXAMPLE_CHECKS.values():
        if check.in_preference_output:
            findings = check.function(prompt, [(0, output[0])])
            yield from (replace(finding, message_index=None, key=f"{name}.{finding.key}") for finding in findings)
