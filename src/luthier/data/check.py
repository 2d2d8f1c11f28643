"""A file → a `Report` of everything that would spoil a job, each fault with its line.

Small checks, each a generator that yields what it finds and knows nothing of the fault's place; the drivers below
them fill in message, line and example. To add a check, write one and name it in `MESSAGE_CHECKS` or `EXAMPLE_CHECKS`.
This module knows no tokenizer and no base model, so nothing about lengths. Of a preference example it knows the kind.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import orjson

from luthier.data.clean import runs
from luthier.data.copies import Copies
from luthier.data.examples import ExampleKind, calls_in, definitions_in, kind_of, name_of
from luthier.data.findings import Finding, FindingError, Report, problem
from luthier.data.read import Block, Line, parse_json, parse_line, read_blocks, split_lines
from luthier.types.errors import JobError

Found = Iterator[Finding]
Conversation = list[tuple[int, dict[str, Any]]]  # each well-formed message with its index

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MESSAGE_KEYS = ("role", "content", "name", "function_call", "tool_calls", "tool_call_id", "weight", "refusal", "audio")
EXAMPLE_KEYS = ("messages", "tools", "functions", "parallel_tool_calls")
_CALL_KEYS = ("function_call", "tool_calls")
_TEXT_KEYS = ("name", "tool_call_id", "refusal")
_FORMATS: dict[ExampleKind, tuple[str, str]] = {  # what OpenAI calls the format, and the method that trains on it
    "chat": ("fine-tune-chat", "supervised"),
    "completion": ("fine-tune-completion", "supervised"),
    "preference": ("fine-tune-preference", "dpo"),
}


class Quality(Protocol):
    """What looks at examples whose form is right, for what they teach. One object looks at one file, once.

    Exact copies need no look: `check_file` finds them itself where there is a quality to check.
    """

    def look(self, line_number: int, example_number: int, example: dict[str, Any]) -> Iterable[Finding]:
        """Findings on one example; both numbers count from 1. Findings that name no line are given this one."""

    def finish(self) -> Iterable[Finding]:
        """Findings that only the whole file shows; called once, after the last example."""


def check_file(
    path: Path,
    *,
    method: str = "supervised",
    minimum_examples: int = 10,
    on_line: Callable[[int], None] | None = None,
    quality: Quality | None = None,
    report: Report | None = None,
) -> Report:
    """Check every line. Whatever the bytes are, the answer is a report; only an unreadable path raises `OSError`.

    `on_line` is given the bytes of the file consumed so far, now and then, and at the end.
    `quality` is shown every example that has no error of form. `report`: one to go on with, else a new one.
    """
    check = _Check(quality, Report() if report is None else report)
    try:
        for block in read_blocks(path):
            check.block(block)
            if on_line:
                on_line(block.end_bytes)
    except FindingError as error:  # not text at all: there are no lines to tell about
        check.report.add(error.finding)
        return check.report
    _check_whole(check.report, check.kinds, method, minimum_examples)
    check.finish()
    return check.report


class _Check:
    """One file being checked: what was found so far, and what later lines are held against."""

    def __init__(self, quality: Quality | None, report: Report) -> None:
        self.report = report
        self.kinds = Counter[ExampleKind | None]()
        self._quality = quality
        self._copies = Copies()
        self._line_number = 0

    def block(self, block: Block) -> None:
        """Lines that are proved clean are only counted, unless somebody wants to look at what they say."""
        for run in runs(block.lines):
            if run.proved:
                self.kinds["chat"] += run.lines
            if run.proved and not self._quality:
                self.report.examples += run.lines
                self._line_number += run.lines
                continue
            for raw in split_lines(block.lines[run.start : run.end]):
                self._line_number += 1
                if raw and not raw.isspace():
                    self.report.examples += 1
                    line = Line(self._line_number, raw.removesuffix(b"\r"), block.end_bytes, block.cut)
                    self._proved(line) if run.proved else self._other(line)

    def finish(self) -> None:
        """What only the whole file shows of what its examples say."""
        for finding in (*self._copies.findings(), *self._quality.finish()) if self._quality else ():
            self.report.add(finding)

    def _proved(self, line: Line) -> None:
        self._look(line, orjson.loads(line.raw))

    def _other(self, line: Line) -> None:
        example, findings = self._careful(line)
        for finding in findings:
            self.report.add(finding.at(line.number, self.report.examples))
        if example is not None and not any(finding.severity == "error" for finding in findings):
            self._look(line, example)

    def _careful(self, line: Line) -> tuple[dict[str, Any] | None, list[Finding]]:
        """The object that a line holds, if it holds one, and its faults."""
        try:
            value = parse_line(line)
        except FindingError as error:
            return None, [error.finding]
        if not isinstance(value, dict):
            return None, [problem("data_type", seen=line.raw.decode().strip())]
        self.kinds[kind_of(value)] += 1
        return value, list(check_example(value))

    def _look(self, line: Line, example: dict[str, Any]) -> None:
        if self._quality:
            self._copies.add(line.number, example)
            for finding in self._quality.look(line.number, self.report.examples, example):
                at = finding if finding.line else finding.at(line.number, self.report.examples)
                self.report.add(at)


def check_example(example: dict[str, Any]) -> Found:
    """What is wrong with one parsed example, taken for itself; the findings name messages but no line."""
    kind = kind_of(example)
    if kind == "preference":
        return
    if kind == "completion":
        yield from _check_pair(example)
        return
    messages = example.get("messages")
    if kind == "chat":
        yield from _unknown_keys(example, EXAMPLE_KEYS)
    if not isinstance(messages, list) or not messages:
        yield problem("missing_messages_list", seen=messages)
        return
    for index, message in enumerate(messages):
        yield from (replace(finding, message_index=index) for finding in check_message(message))
    conversation = [(index, message) for index, message in enumerate(messages) if isinstance(message, dict)]
    for check in EXAMPLE_CHECKS:
        yield from check(example, conversation)


def check_message(message: Any) -> Found:
    """What is wrong with one message, taken for itself."""
    if not isinstance(message, dict):
        yield problem("message_type", seen=message)
        return
    for check in MESSAGE_CHECKS:
        yield from check(message)


def job_error(report: Report, *, file_id: str, param: str = "training_file") -> JobError | None:
    """The first error as OpenAI ends a job with it; None for a report without errors.

    `param` is `training_file` or `validation_file`.
    """
    finding = report.first_error
    if finding is None:
        return None
    wire = finding.wire(file_id=file_id, param=param)
    if finding.code in ("too_few_examples", "file_empty"):
        return JobError("invalid_n_examples", wire, param)
    opening = f"The job failed due to an invalid {param.replace('_', ' ')}. "
    if finding.code != "unexpected_format":  # the one message that OpenAI sends without these words
        opening += "Invalid file format. "
    return JobError(f"invalid_{param}", opening + wire, param)


def _check_whole(report: Report, kinds: Counter[ExampleKind | None], method: str, minimum_examples: int) -> None:
    """What only the whole file shows. A wrong kind of file explains the rest, so it comes first."""
    if report.examples == 0:
        report.add(problem("file_empty", seen="0", detail=str(minimum_examples)))
        return
    for name, trains in (_FORMATS[kind] for kind in kinds if kind):
        if trains != method:
            report.add(problem("method_mismatch", key=trains, seen=name, detail=method), first=True)
    if set(kinds) == {None}:
        report.add(problem("unexpected_format"), first=True)
    if report.examples < minimum_examples:
        report.add(problem("too_few_examples", seen=report.examples, detail=str(minimum_examples)))


def _check_pair(example: dict[str, Any]) -> Found:
    yield from _unknown_keys(example, ("prompt", "completion"))
    for key in ("prompt", "completion"):
        if not isinstance(example[key], str):
            yield problem("content_type", key=key, seen=example[key])
    if example["completion"] == "":  # an empty prompt is fine: the model then learns to speak unasked
        yield problem("missing_content", key="completion")


def _unknown_keys(example: dict[str, Any], known: tuple[str, ...]) -> Found:
    yield from (problem("unrecognized_key", key=key) for key in example if key not in known)


def _keys(message: dict[str, Any]) -> Found:
    for key, value in message.items():
        misplaced = key in _CALL_KEYS and value and message.get("role", "assistant") != "assistant"
        if key not in MESSAGE_KEYS or misplaced:
            yield problem("message_unrecognized_key", key=key)
        elif key in _TEXT_KEYS and not isinstance(value, str | None):
            yield problem("content_type", key=key, seen=value)


def _role(message: dict[str, Any]) -> Found:
    if "role" not in message:
        yield problem("message_missing_key", key="role")
    elif message["role"] not in ROLES:
        yield problem("unrecognized_role", key="role", seen=message["role"], detail=", ".join(f"'{r}'" for r in ROLES))


def _content(message: dict[str, Any]) -> Found:
    """An assistant that calls needs no content (a `refusal` is not rendered, so it does not stand in for content)."""
    content = message.get("content")
    calls = message.get("function_call") is not None or bool(message.get("tool_calls"))
    if content is None and not calls:
        yield problem("missing_content" if "content" in message else "message_missing_key", key="content")
    elif content is not None and not _is_text(content):
        yield problem("content_type", key="content", seen=content)
    elif content is not None and not _has_text(content) and not calls:
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


def _weight(message: dict[str, Any]) -> Found:
    weight = message.get("weight")
    if weight is None:
        return
    if isinstance(weight, bool) or weight not in (0, 1) or message.get("role", "assistant") != "assistant":
        yield problem("weight_invalid", key="weight", seen=weight)


def _calls(message: dict[str, Any]) -> Found:
    tool_calls = message.get("tool_calls")
    if not isinstance(tool_calls, list | None):
        yield problem("call_invalid", key="tool_calls")
        return
    for index, call in enumerate(tool_calls or []):
        if isinstance(call, dict) and call.get("type", "function") != "function":
            yield problem("call_invalid", key=f"tool_calls[{index}].type")
        elif isinstance(call, dict) and not isinstance(call.get("id"), str | None):
            yield problem("call_invalid", key=f"tool_calls[{index}].id")
    for path, call in calls_in(message):
        if name_of(call) is None:
            yield problem("call_invalid", key=path)
        else:
            yield from _arguments(f"{path}.arguments", call.get("arguments"))


def _arguments(path: str, arguments: Any) -> Found:
    """The wire form is a string, even though most chat templates want the object that it holds."""
    if not isinstance(arguments, str):
        yield problem("arguments_not_json", key=path, seen=arguments)
        return
    try:
        value = parse_json(arguments)
    except FindingError:
        yield problem("arguments_not_json", key=path, seen=arguments)
        return
    if not isinstance(value, dict):
        yield problem("arguments_not_object", key=path, seen=arguments)


def _definitions(example: dict[str, Any], conversation: Conversation) -> Found:
    for key in ("tools", "functions"):
        if not isinstance(example.get(key), list | None):
            yield problem("definition_invalid", key=key)
    for path, definition in definitions_in(example):
        parameters = definition.get("parameters") if isinstance(definition, dict) else None
        if name_of(definition) is None or not isinstance(parameters, dict | None):
            yield problem("definition_invalid", key=path)
    if not isinstance(example.get("parallel_tool_calls"), bool | None):
        yield problem("definition_invalid", key="parallel_tool_calls")


def _undefined(example: dict[str, Any], conversation: Conversation) -> Found:
    """Without definitions every name is allowed: that is how a model learns to call without being told."""
    names = sorted({name for _, definition in definitions_in(example) if (name := name_of(definition))})
    if not names:
        return
    for index, message in conversation:
        for path, call in calls_in(message):
            if (name := name_of(call)) and name not in names:
                finding = problem("undefined_function", key=f"{path}.name", seen=name, detail=", ".join(names))
                yield replace(finding, message_index=index)


def _assistant(example: dict[str, Any], conversation: Conversation) -> Found:
    answers = [message for _, message in conversation if message.get("role") == "assistant"]
    if not answers:
        yield problem("example_missing_assistant_message")
        return
    if all(message.get("weight") == 0 for message in answers):
        yield problem("nothing_trainable")
    index, last = conversation[-1]
    if last.get("role") != "assistant":
        yield replace(problem("last_message_not_assistant", seen=last.get("role")), message_index=index)


def _results(example: dict[str, Any], conversation: Conversation) -> Found:
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


MESSAGE_CHECKS: tuple[Callable[[dict[str, Any]], Found], ...] = (_keys, _role, _content, _weight, _calls)
EXAMPLE_CHECKS: tuple[Callable[[dict[str, Any], Conversation], Found], ...] = (
    _definitions,
    _undefined,
    _assistant,
    _results,
)
