"""JSON values → `Example`s, with tools in one form.

Expects a file that `check` has passed; it raises only for values that would otherwise cause a traceback. Messages are
not changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.data.examples.messages import normalize_tools
from luthier.data.findings import FindingError, make_finding
from luthier.data.jsonl.reader import parse_line, read_lines
from luthier.language import Language
from luthier.types.errors import RenderError

ExampleKind = Literal["chat", "completion", "preference"]
WireForm = Literal["tools", "functions"]
_PREFERENCE_KEYS = {"preferred_output", "non_preferred_output", "preferred_completion", "non_preferred_completion"}


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation with its definitions. `line` counts from 1.

    `tools`: the definitions in today's form, None without any; `has_functions`: the file has them in the older form,
    `functions`. `definitions`: the definitions by which calls are parsed if the prompt has fewer; None: `tools`.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    parallel_tool_calls: bool | None = None
    line: int = 0
    has_functions: bool = False
    definitions: list[dict[str, Any]] | None = None

    @property
    def call_form(self) -> WireForm | None:
        """The form of the calls, or else of the definitions: `tools`, or the older `functions`; None without any."""
        for message in self.messages:
            if message.get("tool_calls"):
                return "tools"
            if message.get("function_call"):
                return "functions"
        if not self.tools:
            return None
        return "functions" if self.has_functions else "tools"

    @property
    def has_calls(self) -> bool:
        """Whether any message calls a function, in either form."""
        return any(map(has_calls, self.messages))


def read_examples(path: Path) -> Iterator[Example]:
    """The examples of a checked file, in order. Raises `FindingError`, a `LuthierError`, with the line."""
    for line in read_lines(path):
        yield to_example(parse_line(line), line.number)


def to_example(value: Any, line: int) -> Example:
    """A parsed line as an example; a prompt/completion pair becomes a user and an assistant message.

    Raises `FindingError`.
    """
    kind = kind_of(value) if isinstance(value, dict) else None
    if kind == "completion":
        messages = [{"role": "user", "content": value["prompt"]}, {"role": "assistant", "content": value["completion"]}]
        return Example(messages, line=line)
    if kind != "chat":
        raise FindingError(make_finding("missing_messages_list").at(line))
    return to_conversation(value, value["messages"], line)


def to_conversation(definitions: dict[str, Any], messages: Any, line: int) -> Example:
    """An example of these messages, with the tools of the object `definitions`. Raises `FindingError`."""
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise FindingError(make_finding("missing_messages_list").at(line))
    tools, functions = definitions.get("tools") or None, definitions.get("functions") or None
    try:
        normalized = normalize_tools(tools, functions)
    except RenderError as error:
        raise FindingError(
            make_finding("definition_invalid", key="tools" if tools else "functions").at(line)
        ) from error
    parallel = definitions.get("parallel_tool_calls")
    return Example(messages, normalized, parallel, line, has_functions=not tools and bool(functions))


def kind_of(value: dict[str, Any]) -> ExampleKind | None:
    """The kind of example that this object is, judged by its keys alone; None for any other object."""
    if "messages" in value:
        return "chat"
    if not _PREFERENCE_KEYS.isdisjoint(value):
        return "preference"
    return "completion" if "prompt" in value and "completion" in value else None


def has_calls(message: dict[str, Any]) -> bool:
    """Whether a well-formed message calls a function, in either form."""
    return bool(message.get("tool_calls") or message.get("function_call"))


def calls_in(message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(path, function with its arguments) of each call in a message, unchanged, whether well-formed or not."""
    if message.get("function_call") is not None:
        yield "function_call", message["function_call"]
    for path, call in _members(message, "tool_calls"):
        yield f"{path}.function", call.get("function") if isinstance(call, dict) else None


def definitions_in(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(path, function) of each definition in a parsed line, unchanged, whether well-formed or not."""
    for path, tool in _members(value, "tools"):
        is_function = isinstance(tool, dict) and tool.get("type", "function") == "function"
        yield path, tool.get("function") if is_function else None
    yield from _members(value, "functions")


def name_of(function: Any) -> str | None:
    """The name in a call or a definition, if it has a usable one."""
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) and name else None


def language_of(example: Example) -> Language:
    """Chinese if more than a fifth of the characters are Chinese, else English."""
    text = "".join(str(message.get("content") or "") for message in example.messages)
    chinese = sum("\u4e00" <= char <= "\u9fff" for char in text)
    return "zh" if chinese * 5 > len(text) else "en"


def _members(value: dict[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    members = value.get(key)
    for index, member in enumerate(members if isinstance(members, list) else []):
        yield f"{key}[{index}]", member
