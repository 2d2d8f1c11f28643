"""Forms with a tag around each argument: those of Qwen3-Coder, Qwen3.5 and Nemotron 3, and of GLM-4.5.

Strings are written without quotes, so the schema decides the type of an argument (`value_text`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.data.examples.messages import Call
from luthier.data.jsonl import lossless_json
from luthier.data.rendering.argument_grammar import close_schema, schema_json
from luthier.data.rendering.block_reader import Block, BlockReader
from luthier.data.rendering.marked_form import MarkedForm, quoted
from luthier.data.rendering.member_grammar import member_rules
from luthier.data.rendering.value_text import is_text, parameter_schema, property_schema, read_value, write_value

Functions = Sequence[dict[str, Any]] | None


@dataclass(frozen=True)
class _Tags:
    """Regular expressions for the tags around names and values.

    Attributes:
        header: From the opening mark to the first argument; group 1 is the function's name.
        parameter: An argument with its value, followed by another argument or the end of the call; groups 1 and 2 are
            its name and its value.
        beginning: The beginning of an argument, with its value so far.
        end: The end of a call.
        required_end: The part of `end` that is required even if the model has ended its answer.
        ends: The texts that may follow a value, as templates write them.
        undecided: A text that may still become a header.
    """

    header: re.Pattern[str]
    parameter: re.Pattern[str]
    beginning: re.Pattern[str]
    end: re.Pattern[str]
    required_end: re.Pattern[str]
    ends: tuple[str, str]
    undecided: re.Pattern[str]


def _beginnings(text: str) -> str:
    """A regular expression that matches every prefix of the text."""
    return "(?:" + "(?:".join(map(re.escape, text)) + ")?" * len(text)


_XML = _Tags(
    header=re.compile(r"(?:<tool_call>\s*)?<function=([^>\n]+)>\n?"),
    parameter=re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>\n?(?=<parameter=|</function>)", re.DOTALL),
    beginning=re.compile(r"<parameter=([^>\n]+)>\n?(.*)", re.DOTALL),
    end=re.compile(r"</function>\s*</tool_call>"),
    required_end=re.compile(r"</function>\s*"),
    ends=("\n</parameter>\n<parameter=", "\n</parameter>\n</function>"),
    undecided=re.compile(rf"(?:<tool_call>\s*)?{_beginnings('<function=')}([^>\n]*)\Z"),
)
_GLM = _Tags(
    header=re.compile(r"<tool_call>[ \n]*([^<\n]+?)[ \n]*(?=<arg_key>|</tool_call>)"),
    parameter=re.compile(
        r"<arg_key>([^<]*)</arg_key>\s*<arg_value>(.*?)</arg_value>\s*(?=<arg_key>|</tool_call>)", re.DOTALL
    ),
    beginning=re.compile(r"<arg_key>([^<]*)</arg_key>\s*<arg_value>(.*)", re.DOTALL),
    end=re.compile(r"</tool_call>"),
    required_end=re.compile(r"</tool_call>"),
    ends=("</arg_value>\n<arg_key>", "</arg_value>\n</tool_call>"),
    undecided=re.compile(r"<tool_call>[ \n]*[^<\n]*[ \n]*(?:<[^>]*)?\Z"),
)


class _TaggedParser:
    def __init__(self, tags: _Tags, functions: Functions) -> None:
        self._tags, self._functions = tags, functions

    def parse(self, text: str, *, ended: bool) -> Block | None:
        header = self._tags.header.match(text)
        if header is None:
            if ended or not self._tags.undecided.match(text):
                raise ValueError("no call")
            return None
        arguments, position = self._arguments(text, header)
        end = self._tags.end.match(text, position) or (self._tags.required_end.match(text, position) if ended else None)
        if end is None:
            return None
        return Block([Call(header[1], lossless_json.dumps(arguments))], end.end())

    def parse_beginning(self, text: str) -> list[Call]:
        header = self._tags.header.match(text)
        if header is None:
            return []
        arguments, position = self._arguments(text, header)
        if self._tags.required_end.match(text, position):
            return [Call(header[1], lossless_json.dumps(arguments))]
        written = lossless_json.dumps(arguments).removesuffix("}")
        partial = self._tags.beginning.match(text, position)
        if partial:
            key, value = partial[1], _without_end(partial[2], self._tags.ends)
            is_string = is_text(parameter_schema(self._functions, header[1], key))
            value = lossless_json.dumps(value).removesuffix('"') if is_string else value
            written += f"{', ' if arguments else ''}{lossless_json.dumps(key)}: {value}"
        return [Call(header[1], written)]

    def _arguments(self, text: str, header: re.Match[str]) -> tuple[dict[str, Any], int]:
        """(the complete arguments, the offset after them)."""
        arguments: dict[str, Any] = {}
        position = header.end()
        while parameter := self._tags.parameter.match(text, position):
            schema = parameter_schema(self._functions, header[1], parameter[1])
            arguments[parameter[1]] = read_value(parameter[2], schema)
            position = parameter.end()
        return arguments, position


def _without_end(text: str, marks: Sequence[str]) -> str:
    """The text without the beginning of a mark, or a whole one, at its end."""
    sizes = (size for mark in marks for size in range(1, len(mark) + 1) if text.endswith(mark[:size]))
    return text[: len(text) - max(sizes, default=0)]


@dataclass(frozen=True)
class _TaggedForm(MarkedForm):
    mark: ClassVar[str] = "<tool_call>"
    separator: ClassVar[str] = "\n"
    space: ClassVar[str] = "\n"
    tags: ClassVar[_Tags]
    marks: ClassVar[tuple[str, ...]] = ("<tool_call>",)

    def new_reader(self, functions: Functions = None) -> BlockReader:
        return BlockReader(_TaggedParser(self.tags, functions), self.marks)

    def written_arguments(self, arguments: dict[str, Any], schema: Any) -> Any:
        return {key: write_value(value, property_schema(schema, key)) for key, value in arguments.items()}

    def _value_rules(self, rule: str, schema: Any, end: str) -> Iterator[str]:
        """The rule `rule`, which matches a value followed by `end`."""
        choices = schema.get("enum") if isinstance(schema, dict) else None
        if is_text(schema) and choices:
            yield f"{rule}: (" + " | ".join(quoted(choice) for choice in choices) + f") {self.special.literal(end)}"
        elif is_text(schema) and self.special.literal(end) != quoted(end):
            yield f"{rule}: {rule}_text {self.special.literal(end)}"
            yield f"{rule}_text: /(.|\\n)*/"
        elif is_text(schema):
            yield f"{rule}[lazy]: /(.|\\n)*/ {quoted(end)}"
        else:
            yield f"{rule}: {rule}_json {self.special.literal(end)}"
            yield f"{rule}_json: %json {schema_json(schema)}"

    def _members(self, rule: str, function: dict[str, Any], around: tuple[str, str, str], end: str) -> Iterator[str]:
        """The rule `rule`, which matches the arguments of a function and `end`. `around`: the texts before a name,
        between a name and its value, and after a value.
        """
        before, between, behind = around
        schema = close_schema(function.get("parameters"))
        properties = schema.get("properties") or {}
        required = [key for key in schema.get("required") or [] if key in properties]
        for index, (key, value_schema) in enumerate(properties.items()):
            yield f"{rule}_{index}: {self.special.literal(before + key + between)} {rule}_{index}v"
            yield from self._value_rules(f"{rule}_{index}v", value_schema, behind)
        numbers = {key: f"{rule}_{index}" for index, key in enumerate(properties)}
        optional = [number for key, number in numbers.items() if key not in required]
        yield from member_rules(rule, [numbers[key] for key in required], optional, self.special.literal(end))


@dataclass(frozen=True)
class XmlForm(_TaggedForm):
    """`<function=get_price>`, and `<parameter=code>` around each value."""

    name: ClassVar[str] = "qwen3-xml"
    tags: ClassVar[_Tags] = _XML
    marks: ClassVar[tuple[str, ...]] = ("<tool_call>", "<function=")

    def opening(self, function: str | None) -> str:
        return "<tool_call>\n<function=" + ("" if function is None else f"{function}>\n")

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        yield f"{rule}: {quoted(chr(10) + '<function=' + function['name'] + '>' + chr(10))} {rule}_m"
        around = ("<parameter=", ">\n", "\n</parameter>\n")
        yield from self._members(f"{rule}_m", function, around, "</function>\n</tool_call>")


@dataclass(frozen=True)
class GlmForm(_TaggedForm):
    """The name after the mark, then `<arg_key>` and `<arg_value>` for each argument."""

    name: ClassVar[str] = "glm4"
    tags: ClassVar[_Tags] = _GLM

    def opening(self, function: str | None) -> str:
        return "<tool_call>" + ("" if function is None else f"{function}\n")

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        yield f"{rule}: {quoted(function['name'] + chr(10))} {rule}_m"
        around = ("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n")
        yield from self._members(f"{rule}_m", function, around, "</tool_call>")
