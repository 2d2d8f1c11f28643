"""The form of Gemma 4: `call:get_price{code:<|"|>A<|"|>,count:2}` between its own marks."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.data.examples.messages import Call
from luthier.data.jsonl import lossless_json
from luthier.data.rendering.argument_text import ArgumentTranslator, CutOffError
from luthier.data.rendering.block_reader import Block, BlockReader
from luthier.data.rendering.call_text_reader import overlap
from luthier.data.rendering.marked_form import MarkedForm, quoted
from luthier.data.rendering.number_bounds import NUMBER_PATTERNS
from luthier.data.rendering.value_grammar import ValueGrammar

_OPEN, _CLOSE, _QUOTE = "<|tool_call>", "<tool_call|>", '<|"|>'
_HEADER = re.compile(r"<\|tool_call>\s*call:([^{}\s<]+)(?=\{)")
_UNFINISHED_HEADER = re.compile(r"<\|tool_call>\s*(?:c|ca|cal|call|call:[^{}\s<]*)?\Z")


class _Translator(ArgumentTranslator):
    quotes: ClassVar[tuple[str, ...]] = (_QUOTE,)

    def _string(self, quote: str) -> None:
        end = self.text.find(quote, self.position)
        is_whole = end >= 0
        end = end if is_whole else len(self.text) - overlap(self.text[self.position :], quote)
        self.written += lossless_json.dumps(self.text[self.position : end])[: None if is_whole else -1]
        if not is_whole:
            raise CutOffError
        self.position = end + len(quote)


class _Parser:
    def parse(self, text: str, *, ended: bool) -> Block | None:
        header = _HEADER.match(text)
        if header is None:
            if _UNFINISHED_HEADER.match(text):
                return None
            raise ValueError("no call")
        translator = _Translator(text, header.end())
        try:
            translator.members("{", ":", "}")
            if not (ended and translator.position == len(text)):
                translator.expect(_CLOSE)
        except CutOffError:
            return None
        except RecursionError as error:
            raise ValueError("no call") from error
        return Block([Call(header[1], translator.written)], translator.position)

    def parse_beginning(self, text: str) -> list[Call]:
        header = _HEADER.match(text)
        if header is None:
            return []
        translator = _Translator(text, header.end())
        with suppress(CutOffError):
            translator.members("{", ":", "}")
        return [Call(header[1], translator.written)]


class _Values(ValueGrammar):
    literals: ClassVar[dict[str, str]] = {"true": "true", "false": "false", "null": "null"}

    def shared_rules(self) -> Iterator[str]:
        quote = self._special.literal(_QUOTE)
        if _QUOTE in self._special:
            yield f"any_string: {quote} any_text {quote}\nany_text: /(.|\\n)*/"
        else:
            yield f"any_string: {quote} any_text\nany_text[lazy]: /(.|\\n)*/ {quote}"
        yield 'any_value: any_string | "true" | "false" | "null" | any_number | any_list | any_object'
        yield f"any_number: {NUMBER_PATTERNS['number']}"
        yield 'any_list: "[" (any_value ("," any_value)*)? "]"'
        yield 'any_object: "{" (any_member ("," any_member)*)? "}"'
        yield r'any_member: /[^:,{}\[\]<"\n]+/ ":" any_value'

    def string(self, text: str) -> str:
        return f"{_QUOTE}{text}{_QUOTE}"

    def structure_rules(self, rule: str, schema: dict[str, Any]) -> Iterator[str]:
        if schema["type"] == "array":
            yield f'{rule}: "[" ({rule}_e ("," {rule}_e)*)? "]"'
            yield from self.value_rules(f"{rule}_e", schema.get("items"))
        elif schema.get("properties"):
            yield f'{rule}: "{{" {rule}_m'
            yield from self.member_rules(f"{rule}_m", schema, ":", ",", "}")
        else:
            yield f"{rule}: any_object"


@dataclass(frozen=True)
class GemmaForm(MarkedForm):
    name: ClassVar[str] = "gemma4"
    mark: ClassVar[str] = _OPEN

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> BlockReader:
        return BlockReader(_Parser(), [_OPEN])

    def opening(self, function: str | None) -> str:
        return f"{_OPEN}call:" + ("" if function is None else f"{function}{{")

    def grammar_rules(self, functions: Sequence[dict[str, Any]], *, parallel: bool) -> list[str]:
        return [*super().grammar_rules(functions, parallel=parallel), *_Values(self.special).shared_rules()]

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        yield f"{rule}: {quoted('call:' + function['name'] + '{')} {rule}_m"
        end = "}" + _CLOSE
        yield from _Values(self.special).arguments(f"{rule}_m", function.get("parameters"), ":", ",", end)
