"""The form of DeepSeek V3 and the R1 distills: a name and a block of JSON between marks, inside the marks of a list."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.data.examples.messages import Call
from luthier.data.rendering.argument_grammar import argument_rules, close_schema
from luthier.data.rendering.block_reader import Block, BlockReader
from luthier.data.rendering.json_call import JsonScanner, parse_arguments
from luthier.data.rendering.marked_form import MarkedForm

_LIST, _LIST_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
_CALL, _CALL_END, _SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
_FENCE, _FENCE_END = "\n```json\n", "\n```"
_HEADER = re.compile(rf"(?:{_LIST}\s*)?{_CALL}\s*function{_SEPARATOR}([^\n`]+)\n```json\s*(?=\{{)")
_UNFINISHED_HEADER = re.compile(rf"(?:{_LIST}\s*)?(?:{_CALL}[^`{{]*(?:`{{1,3}}[a-z]*\s*)?|<[^>{{}}]*)?\Z")
_END = re.compile(rf"\s*```\s*{_CALL_END}")
_REST = re.compile(rf"\s*{_LIST_END}")


class _Parser:
    def parse(self, text: str, *, ended: bool) -> Block | None:
        header = _HEADER.match(text)
        if header is None:
            if _UNFINISHED_HEADER.match(text):
                return None
            raise ValueError("no call")
        length = JsonScanner().feed(text[header.end() :])
        if length is None:
            return None
        arguments = parse_arguments(text[header.end() : header.end() + length])
        position = header.end() + length
        end = _END.match(text, position)
        if end is None and not ended:
            return None
        position = end.end() if end else len(text)
        if not ended and _may_become(text[position:].lstrip(), _LIST_END):
            return None
        rest = _REST.match(text, position)
        return Block([Call(header[1].strip(), arguments)], rest.end() if rest else position)

    def parse_beginning(self, text: str) -> list[Call]:
        header = _HEADER.match(text)
        if header is None:
            return []
        arguments = text[header.end() :]
        return [Call(header[1].strip(), arguments[: JsonScanner().feed(arguments)])]


def _may_become(text: str, mark: str) -> bool:
    return len(text) < len(mark) and mark.startswith(text)


@dataclass(frozen=True)
class DeepSeekForm(MarkedForm):
    name: ClassVar[str] = "deepseek"
    mark: ClassVar[str] = _LIST

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> BlockReader:
        return BlockReader(_Parser(), [_LIST, _CALL])

    def opening(self, function: str | None) -> str:
        return f"{_LIST}{_CALL}function{_SEPARATOR}" + ("" if function is None else f"{function}{_FENCE}")

    def _rules_of_calls(self, count: int, parallel: bool) -> Iterator[str]:
        yield "calls: opening list"
        yield "text_and_calls: lead list"
        yield from self._rules_of_lead()
        more_calls = r' ("\n" call)*' if parallel else ""
        yield f"list: call{more_calls} {self.special.literal(_LIST_END)}"
        yield "call: " + " | ".join(f"call_{index}" for index in range(count))

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        opening = self.special.literal(f"{_CALL}function{_SEPARATOR}{function['name']}{_FENCE}")
        yield f"{rule}: {opening} {rule}_arguments {self.special.literal(_FENCE_END + _CALL_END)}"
        yield from argument_rules(f"{rule}_arguments", close_schema(function.get("parameters")))
