"""The form of Llama 3.1 and 3.2: an answer that is a JSON object with `name` and `parameters`; one call per answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.data.examples.messages import Call
from luthier.data.rendering.argument_grammar import argument_rules, close_schema
from luthier.data.rendering.block_reader import Block, BlockReader
from luthier.data.rendering.json_call import JsonScanner, beginning_of_call, parse_call
from luthier.data.rendering.marked_form import MarkedForm, quoted

_PYTHON = "<|python_tag|>"  # may stand before a call


class _Parser:
    def parse(self, text: str, *, ended: bool) -> Block | None:
        start = len(_PYTHON) if text.startswith(_PYTHON) else 0
        end = JsonScanner().feed(text[start:])
        if end is None:
            return None
        call = parse_call(text[start : start + end], "parameters")
        if call is None:
            raise ValueError("no call")
        return Block([Call(*call)], start + end)

    def parse_beginning(self, text: str) -> list[Call]:
        return beginning_of_call(text.removeprefix(_PYTHON))


@dataclass(frozen=True)
class LlamaForm(MarkedForm):
    """The mark is the beginning of the JSON itself, and opens a call only at the beginning of an answer."""

    name: ClassVar[str] = "llama3"
    mark: ClassVar[str] = '{"name": "'

    @property
    def text_rule(self) -> str:
        return r"TEXT: /(.|\n)*/ & ~/\{\"name\": (.|\n)*/"

    @property
    def no_call_rule(self) -> str:
        return self.text_rule  # an answer in words may be another JSON object

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> BlockReader:
        return BlockReader(_Parser(), [self.mark, _PYTHON], at_start=True)

    def opening(self, function: str | None) -> str:
        return self.mark if function is None else f'{{"name": {quoted(function)}, "parameters":'

    def _rules_of_calls(self, count: int, parallel: bool) -> Iterator[str]:
        yield "calls: " + " | ".join(f"call_{index}" for index in range(count))
        yield "text_and_calls: calls"

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        beginning = f'{{"name": {quoted(function["name"])}, "parameters": '
        yield f"{rule}: {quoted(beginning)} {rule}_arguments {quoted('}')}"
        yield from argument_rules(f"{rule}_arguments", close_schema(function.get("parameters")))
