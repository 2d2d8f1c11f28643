"""The two forms of Mistral's templates: [TOOL_CALLS] before each name and its arguments, or before a JSON list."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.data.examples.messages import Call
from luthier.data.jsonl import lossless_json
from luthier.data.rendering.argument_grammar import argument_rules, close_schema
from luthier.data.rendering.block_reader import Block, BlockReader
from luthier.data.rendering.json_call import JsonScanner, beginning_of_call, parse_arguments, parse_call
from luthier.data.rendering.marked_form import MarkedForm, quoted

_MARK, _ARGUMENTS = "[TOOL_CALLS]", "[ARGS]"
_HEADER = re.compile(r"\[TOOL_CALLS\]\s*([^\[\]{}\s]+?)(?:\[CALL_ID\][^\[\]{}\s]*)?\[ARGS\]\s*(?=\{|\Z)")
_UNDECIDED = re.compile(r"\[TOOL_CALLS\]\s*[^\[\]{}\s]*(?:\[[^{}\s]*)?\Z")


class _NamedParser:
    def parse(self, text: str, *, ended: bool) -> Block | None:
        header = _HEADER.match(text)
        if header is None:
            if _UNDECIDED.match(text):
                return None
            raise ValueError("no call")
        end = JsonScanner().feed(text[header.end() :])
        if end is None:
            return None
        arguments = parse_arguments(text[header.end() : header.end() + end])
        return Block([Call(header[1], arguments)], header.end() + end)

    def parse_beginning(self, text: str) -> list[Call]:
        header = _HEADER.match(text)
        return [Call(header[1], text[header.end() :])] if header else []


@dataclass(frozen=True)
class MistralForm(MarkedForm):
    """`[TOOL_CALLS]get_price[ARGS]{"code": "A"}`, again for each further call."""

    name: ClassVar[str] = "mistral"
    mark: ClassVar[str] = _MARK

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> BlockReader:
        return BlockReader(_NamedParser(), [_MARK])

    def opening(self, function: str | None) -> str:
        return _MARK if function is None else f"{_MARK}{function}{_ARGUMENTS}"

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        yield f"{rule}: {quoted(function['name'])} {self.special.literal(_ARGUMENTS)} {rule}_arguments"
        yield from argument_rules(f"{rule}_arguments", close_schema(function.get("parameters")))


class _ListParser:
    def parse(self, text: str, *, ended: bool) -> Block | None:
        start = len(text) - len(text[len(_MARK) :].lstrip())
        if text[start : start + 1] not in ("", "["):
            raise ValueError("no list")
        end = JsonScanner().feed(text[start:])
        if end is None:
            return None
        objects = lossless_json.DECODER.decode(text[start : start + end])
        calls = [parse_call(lossless_json.dumps(each)) for each in objects]
        if not calls or None in calls:
            raise ValueError("no calls")
        return Block([Call(*call) for call in calls if call], start + end)

    def parse_beginning(self, text: str) -> list[Call]:
        """Every complete call, and the beginning of the next."""
        rest, calls = text[len(_MARK) :].lstrip()[1:], list[Call]()
        while rest:
            end = JsonScanner().feed(rest)
            call = parse_call(rest[:end]) if end else None
            if end is None or call is None:
                return [*calls, *beginning_of_call(rest)]
            calls.append(Call(*call))
            rest = rest[end:].lstrip(", ")
        return calls


@dataclass(frozen=True)
class MistralListForm(MarkedForm):
    """`[TOOL_CALLS] [{"name": "get_price", "arguments": {"code": "A"}, "id": "call00001"}]`"""

    name: ClassVar[str] = "mistral-list"
    mark: ClassVar[str] = _MARK

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> BlockReader:
        return BlockReader(_ListParser(), [_MARK])

    def opening(self, function: str | None) -> str:
        beginning = f'{_MARK} [{{"name": '
        return beginning if function is None else f'{beginning}{quoted(function)}, "arguments":'

    def _rules_of_calls(self, count: int, parallel: bool) -> Iterator[str]:
        call = " | ".join(f"call_{index}" for index in range(count))
        yield "calls: opening list"
        yield "text_and_calls: lead list"
        yield from self._rules_of_lead()
        yield 'list: " "? "[" call' + (' (", " call)*' if parallel else "") + ' "]"'
        yield f"call: {call}"

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        beginning = f'{{"name": {quoted(function["name"])}, "arguments": '
        identity = '(", \\"id\\": \\"" /[a-zA-Z0-9]{9}/ "\\"")?'
        yield f"{rule}: {quoted(beginning)} {rule}_arguments {identity} {quoted('}')}"
        yield from argument_rules(f"{rule}_arguments", close_schema(function.get("parameters")))
