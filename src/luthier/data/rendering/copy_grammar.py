"""Constrains copied arguments to what the conversation contains: spans of its texts, and the numbers that it states.

Spans apply to call forms that write arguments as JSON; the other forms constrain numbers only. Which arguments are
copied: `luthier.data.examples.call_survey`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.data.examples.call_survey import CopiedArguments, CopySource, following, pieces
from luthier.data.examples.json_schema import violations
from luthier.data.examples.tool_definitions import Tools
from luthier.data.rendering.argument_grammar import SPAN, close_schema, is_plain_object

_MAX_SPANS = 400  # spans that are listed for one argument
_STRING_KEYWORDS = {"type", "title", "description", "examples", "default"}


@dataclass
class CopyRules:
    """The Lark rules for the strings that the copied arguments of one request may have."""

    source: CopySource
    _span_rules: dict[tuple[str, ...], str] = field(default_factory=dict)  # spans → the rule's name

    def hold(self, functions: Tools, copied: CopiedArguments) -> Tools:
        """The definitions, with every copied argument constrained to values from the source.

        An argument stays as it is if its schema has more than a type, or if the source has no value for it. All
        arguments do if the source is not usable.
        """
        if not self.source.is_usable:
            return functions
        return [self._hold_function(tool, copied.get(tool["function"]["name"], {})) for tool in functions]

    def lark(self) -> Iterator[str]:
        """The rule `span`, a JSON string of consecutive pieces of one of the texts, and the rules of listed spans."""
        if not self.source.is_usable:
            return
        yield "span: " + " | ".join(f'"\\"" SPAN_{index} "\\""' for index in range(len(self.source.texts)))
        for index, text in enumerate(self.source.texts):
            chunks = [_json_text(piece)[1:-1] for piece in pieces(text)]
            yield f"SPAN_{index}: %regex {json.dumps({'substring_chunks': chunks}, ensure_ascii=False)}"
        for spans, rule in self._span_rules.items():
            yield f"{rule}: " + " | ".join(_json_text(_json_text(span)) for span in spans)

    def _hold_function(self, tool: dict[str, Any], arguments: Mapping[str, list[str] | None]) -> dict[str, Any]:
        parameters = close_schema(tool["function"].get("parameters"))
        if not arguments or not is_plain_object(parameters):
            return tool
        properties = {
            name: self._hold_value(schema, arguments[name]) if name in arguments else schema
            for name, schema in parameters["properties"].items()
        }
        return {**tool, "function": {**tool["function"], "parameters": {**parameters, "properties": properties}}}

    def _hold_value(self, schema: Any, ends: Sequence[str] | None) -> Any:
        kind = schema.get("type") if isinstance(schema, dict) else None
        if kind == "string" and not schema.keys() - _STRING_KEYWORDS:
            return {**schema, SPAN: self._rule(ends)}
        if kind not in ("integer", "number") or schema.keys() & {"enum", "const"}:
            return schema
        numbers = [int(number) if number.is_integer() else number for number in sorted(self.source.numbers)]
        values = [number for number in numbers if not any(violations({"properties": {"": schema}}, {"": number}))]
        return {"type": kind, "enum": values} if values else schema

    def _rule(self, ends: Sequence[str] | None) -> str:
        """The name of the rule for spans before one of `ends`; `span` if there are none, or too many to list."""
        spans = tuple(dict.fromkeys(span for text in self.source.texts for span in _spans_before(text, ends or ())))
        if not 0 < len(spans) <= _MAX_SPANS:
            return "span"
        return self._span_rules.setdefault(spans, f"span_{len(self._span_rules)}")


def _spans_before(text: str, ends: Sequence[str]) -> Iterator[str]:
    text_pieces = pieces(text)
    for end in range(1, len(text_pieces) + 1):
        if following(text_pieces[end:]) in ends and not text_pieces[end - 1].isspace():
            yield from ("".join(text_pieces[start:end]) for start in range(end) if not text_pieces[start].isspace())


def _json_text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
