"""The form of LFM2 and LFM2.5: Python calls in a list, `[get_price(code='A', count=2)]`."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.data.examples.messages import Call
from luthier.data.jsonl import lossless_json
from luthier.data.rendering.argument_grammar import argument_rules, schema_json
from luthier.data.rendering.argument_text import ArgumentTranslator, CutOffError
from luthier.data.rendering.block_reader import Block, BlockReader
from luthier.data.rendering.marked_form import MarkedForm, quoted
from luthier.data.rendering.value_grammar import ValueGrammar

_OPEN, _CLOSE = "<|tool_call_start|>", "<|tool_call_end|>"
_NAME = re.compile(r"\s*([^\s()\[\]{},='\"<]+)(?=\()")
_UNFINISHED_NAME = re.compile(r"\s*[^\s()\[\]{},='\"<]*\Z")
_PLAIN = re.compile(r"[^\\'\"]+|['\"]")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_UNFINISHED_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3}|x[0-9a-fA-F]?|U[0-9a-fA-F]{0,7})?\Z")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "0": "\0", "/": "/"}


class _Translator(ArgumentTranslator):
    """Reads values as Python or JSON writes them."""

    quotes: ClassVar[tuple[str, ...]] = ("'", '"')

    def _string(self, quote: str) -> None:
        self.written += '"'
        while not self.text.startswith(quote, self.position):
            if self.position == len(self.text) or _UNFINISHED_ESCAPE.match(self.text, self.position):
                raise CutOffError
            part = _ESCAPE.match(self.text, self.position) or _PLAIN.match(self.text, self.position)
            if part is None:
                raise ValueError("no character")
            self.written += _json_escape(part[0][1:]) if part[0][0] == "\\" else lossless_json.dumps(part[0])[1:-1]
            self.position = part.end()
        self.position += len(quote)
        self.written += '"'


def _json_escape(code: str) -> str:
    """The JSON of an escape, given without its backslash. Escapes of surrogates stay escapes."""
    if code[0] == "u" and len(code) > 1:
        return f"\\{code}"
    if code[0] in "xU" and len(code) > 1:
        return lossless_json.dumps(chr(min(int(code[1:], 16), 0x10FFFF)))[1:-1]
    return lossless_json.dumps(_ESCAPED.get(code, code if code in "\\'\"" else f"\\{code}"))[1:-1]


class _Parser:
    def parse(self, text: str, *, ended: bool) -> Block | None:
        calls = list[Call]()
        try:
            return Block(calls, _read(text, calls, ended))
        except CutOffError:
            return None
        except RecursionError as error:
            raise ValueError("no calls") from error

    def parse_beginning(self, text: str) -> list[Call]:
        calls = list[Call]()
        with suppress(CutOffError):
            _read(text, calls, False)
        return calls


def _read(text: str, calls: list[Call], ended: bool) -> int:
    """Adds the calls of a text to `calls`, the last one with its arguments so far, and returns the offset after the
    closing mark, which may be missing if the answer has `ended`. Raises CutOffError, and ValueError if the text is not
    a list of calls.
    """
    translator = _Translator(text, len(_OPEN))
    translator.expect("[")
    while not calls or translator.skip(","):
        name = _NAME.match(text, translator.position)
        if name is None:
            raise CutOffError if _UNFINISHED_NAME.match(text, translator.position) else ValueError("no name")
        translator = _Translator(text, name.end())
        try:
            translator.members("(", "=", ")")
        finally:
            calls.append(Call(name[1], translator.written))
    translator.expect("]")
    if not (ended and translator.position == len(text)):
        translator.expect(_CLOSE)
    return translator.position


class _Values(ValueGrammar):
    literals: ClassVar[dict[str, str]] = {"true": "True", "false": "False", "null": "None"}

    def shared_rules(self) -> Iterator[str]:
        anything = schema_json({"type": ["number", "array", "object"]})
        yield r"any_string: /'([^'\\\n\r]|\\[\\'nrt])*'/"
        yield f'any_value: any_string | "True" | "False" | "None" | any_json\nany_json: %json {anything}'

    def string(self, text: str) -> str:
        return f"'{_escaped_string(text)}'"

    def structure_rules(self, rule: str, schema: dict[str, Any]) -> Iterator[str]:
        return argument_rules(rule, schema)


def _escaped_string(text: str) -> str:
    """The text, escaped for a string in single quotation marks."""
    for char, written in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(char, written)
    return text


@dataclass(frozen=True)
class LfmForm(MarkedForm):
    """The form of templates that escape the strings in arguments."""

    name: ClassVar[str] = "lfm2"
    mark: ClassVar[str] = _OPEN

    def new_reader(self, functions: Sequence[dict[str, Any]] | None = None) -> BlockReader:
        return BlockReader(_Parser(), [_OPEN])

    def opening(self, function: str | None) -> str:
        return f"{_OPEN}[" + ("" if function is None else f"{function}(")

    def grammar_rules(self, functions: Sequence[dict[str, Any]], *, parallel: bool) -> list[str]:
        return [*super().grammar_rules(functions, parallel=parallel), *_Values(self.special).shared_rules()]

    def _rules_of_calls(self, count: int, parallel: bool) -> Iterator[str]:
        yield "calls: opening list"
        yield "text_and_calls: lead list"
        yield from self._rules_of_lead()
        yield 'list: "[" call' + (' (", " call)*' if parallel else "") + f' "]" {self.special.literal(_CLOSE)}'
        yield "call: " + " | ".join(f"call_{index}" for index in range(count))

    def _rules_of_call(self, rule: str, function: dict[str, Any]) -> Iterator[str]:
        yield f"{rule}: {quoted(function['name'] + '(')} {rule}_m"
        yield from _Values(self.special).arguments(f"{rule}_m", function.get("parameters"), "=", ", ", ")")


@dataclass(frozen=True)
class UnescapedLfmForm(LfmForm):
    """The form of templates that write the strings in arguments as they are, so they are escaped beforehand."""

    def written_arguments(self, arguments: dict[str, Any], schema: Any) -> Any:
        return {key: _escaped_string(value) if isinstance(value, str) else value for key, value in arguments.items()}
