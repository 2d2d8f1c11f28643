"""JSON values → examples: the one shape that everything after the check works on.

This module trusts a file that `check` has passed; it looks again only at what would otherwise end in a traceback.
It knows nothing about tokens, and changes no message.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.data.findings import FindingError, problem
from luthier.data.jsonl.reader import parse_line, read_lines

ExampleKind = Literal["chat", "completion", "preference"]
CallForm = Literal["tools", "functions"]
_PREFERENCE_KEYS = {"preferred_output", "non_preferred_output", "preferred_completion", "non_preferred_completion"}


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation with its definitions. Absent, null and empty definitions are all None; `line` counts from 1."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    functions: list[dict[str, Any]] | None
    parallel_tool_calls: bool | None
    line: int


def read_examples(path: Path) -> Iterator[Example]:
    """The examples of a checked file, in order. Raises `FindingError`, a `LuthierError`, that names the line."""
    for line in read_lines(path):
        yield to_example(parse_line(line), line.number)


def to_example(value: Any, line: int) -> Example:
    """A parsed line as an example; a prompt/completion pair becomes a user and an assistant message."""
    kind = kind_of(value) if isinstance(value, dict) else None
    if kind == "completion":
        messages = [{"role": "user", "content": value["prompt"]}, {"role": "assistant", "content": value["completion"]}]
        return Example(messages, None, None, None, line)
    turns = value["messages"] if kind == "chat" else None
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise FindingError(problem("missing_messages_list").at(line))
    tools, functions = value.get("tools") or None, value.get("functions") or None
    return Example(turns, tools, functions, value.get("parallel_tool_calls"), line)


def kind_of(value: dict[str, Any]) -> ExampleKind | None:
    """Which of OpenAI's kinds of examples this object means to be, by its keys alone."""
    if "messages" in value:
        return "chat"
    if not _PREFERENCE_KEYS.isdisjoint(value):
        return "preference"
    return "completion" if "prompt" in value and "completion" in value else None


def calls_in(message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each call of a message as it stands, well formed or not: the path to it, and its name with its arguments."""
    if message.get("function_call") is not None:
        yield "function_call", message["function_call"]
    for path, call in _items(message, "tool_calls"):
        yield f"{path}.function", call.get("function") if isinstance(call, dict) else None


def definitions_in(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each definition of a parsed line as it stands, well formed or not, with the path to it."""
    for path, tool in _items(value, "tools"):
        is_function = isinstance(tool, dict) and tool.get("type", "function") == "function"
        yield path, tool.get("function") if is_function else None
    yield from _items(value, "functions")


def name_of(function: Any) -> str | None:
    """The name in a call or a definition, if it has a usable one."""
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) and name else None


def call_form(example: Example) -> CallForm | None:
    """Which form of calls the example makes, or else defines: `tools`, or the older `functions`; None without any."""
    for message in example.messages:
        if message.get("tool_calls"):
            return "tools"
        if message.get("function_call"):
            return "functions"
    if example.tools:
        return "tools"
    return "functions" if example.functions else None


def _items(value: dict[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    items = value.get(key)
    for index, item in enumerate(items if isinstance(items, list) else []):
        yield f"{key}[{index}]", item
