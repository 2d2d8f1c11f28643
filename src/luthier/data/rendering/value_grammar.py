"""Grammar rules for arguments that a call form does not write as JSON."""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from luthier.data.rendering.argument_grammar import argument_rules, close_schema
from luthier.data.rendering.marked_form import SpecialTokens, quoted
from luthier.data.rendering.member_grammar import member_rules
from luthier.data.rendering.value_text import value_types

_MAX_DEPTH = 6  # of nested references
_COMBINED = ("$ref", "allOf", "not", "if")


class ValueGrammar:
    """Rules for values in the syntax of one call form; a grammar has `any_string` and `any_value` once."""

    literals: ClassVar[dict[str, str]]  # JSON's true, false and null → the form's

    def __init__(self, special: SpecialTokens) -> None:
        self._special = special

    def shared_rules(self) -> Iterator[str]:
        raise NotImplementedError

    def string(self, text: str) -> str:
        """A string as the form writes it."""
        raise NotImplementedError

    def structure_rules(self, rule: str, schema: dict[str, Any]) -> Iterator[str]:
        """The rule `rule` for a schema of type array or object."""
        raise NotImplementedError

    def arguments(
        self, rule: str, parameters: dict[str, Any] | None, assign: str, separator: str, end: str
    ) -> Iterator[str]:
        """The rule `rule`: the members of a function's arguments, each a name, `assign` and a value, then `end`. All
        parameters are text.
        """
        schema = close_schema(parameters)
        schema = _without_references(schema, schema.get("$defs") or {}, _MAX_DEPTH)
        yield from self.member_rules(rule, schema, assign, separator, end)

    def member_rules(self, rule: str, schema: dict[str, Any], assign: str, separator: str, end: str) -> Iterator[str]:
        properties = schema.get("properties") or {}
        required = [key for key in schema.get("required") or [] if key in properties]
        names = {key: f"{rule}_{index}" for index, key in enumerate(properties)}
        for key, value_schema in properties.items():
            yield f"{names[key]}: {self._special.literal(key + assign)} {names[key]}v"
            yield from self.value_rules(f"{names[key]}v", value_schema)
        optional = [name for key, name in names.items() if key not in required]
        literal = self._special.literal
        yield from member_rules(rule, [names[key] for key in required], optional, literal(end), literal(separator))

    def value_rules(self, rule: str, schema: Any) -> Iterator[str]:
        """The rule `rule`, which matches a value of the schema, or any value if the keywords are not supported."""
        schema = schema if isinstance(schema, dict) else {}
        constants = [schema["const"]] if "const" in schema else schema.get("enum")
        options = schema.get("anyOf") or schema.get("oneOf")
        types = value_types(schema)
        if isinstance(constants, list) and constants and not any(isinstance(each, dict | list) for each in constants):
            yield f"{rule}: " + " | ".join(self._special.literal(self._scalar(each)) for each in constants)
        elif isinstance(options, list) and options:
            parts = [f"{rule}_p{index}" for index in range(len(options))]
            yield f"{rule}: " + " | ".join(parts)
            for part, option in zip(parts, options, strict=True):
                yield from self.value_rules(part, option)
        elif types is None or any(key in schema for key in _COMBINED):
            yield f"{rule}: any_value"
        else:
            yield f"{rule}: " + " | ".join(self._of_type(rule, kind) for kind in sorted(types))
            for kind in sorted(types & {"integer", "number", "array", "object"}):
                of_kind = {**schema, "type": kind}
                structured = kind in ("array", "object")
                rules = self.structure_rules if structured else argument_rules
                yield from rules(f"{rule}_{kind}", of_kind)

    def _of_type(self, rule: str, kind: str) -> str:
        match kind:
            case "string":
                return "any_string"
            case "boolean":
                return f"{quoted(self.literals['true'])} | {quoted(self.literals['false'])}"
            case "null":
                return quoted(self.literals["null"])
        return f"{rule}_{kind}"

    def _scalar(self, value: Any) -> str:
        if isinstance(value, str):
            return self.string(value)
        text = json.dumps(value)
        return self.literals.get(text, text)


def _without_references(schema: Any, definitions: dict[str, Any], depth: int) -> Any:
    """The schema with every `$ref` to `$defs` replaced by its target; beyond `depth`, by a schema for any value."""
    if isinstance(schema, list):
        return [_without_references(each, definitions, depth) for each in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name in definitions:
        return _without_references(definitions[name], definitions, depth - 1) if depth else {}
    return {key: _without_references(each, definitions, depth) for key, each in schema.items() if key != "$defs"}
