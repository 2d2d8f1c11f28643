"""Function definitions: collected from examples, made slim, and held against the calls that are made.

Knows nothing about models: which definitions are sent, and what a wrong call means, is for others to say.
"""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

from luthier.data.examples.example import Example
from luthier.data.examples.json_schema import undeclared_arguments, violations
from luthier.data.examples.messages import definitions as in_one_form

Shown = Literal["full", "slim", "none"]
SHOWN: tuple[Shown, ...] = ("full", "slim", "none")
# What a slim definition loses: words for people. Names, types, enumerations and what is required stay.
_WORDS = ("description", "title", "examples", "$comment")
_FAULT_NAMES = {  # in reports, by finding code
    "argument_missing": "missing_required",
    "argument_unknown": "unknown_argument",
    "argument_type": "wrong_type",
    "argument_not_in_enum": "not_in_enum",
}


class Definitions:
    """A set of functions by name, in today's form (`{"type": "function", "function": {...}}`)."""

    def __init__(self, tools: list[dict[str, Any]]) -> None:
        self.tools = tools
        self._parameters = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools}

    def __bool__(self) -> bool:
        return bool(self.tools)

    @property
    def names(self) -> list[str]:
        return list(self._parameters)

    def faults(self, name: str, arguments: dict[str, Any] | None) -> Counter[str]:
        """How a call breaks its function's schema; empty when it does not. `arguments` None: they are no object.

        Keys: unknown_function, not_an_object, missing_required, unknown_argument, wrong_type, not_in_enum, other.
        """
        if name not in self._parameters:
            return Counter(["unknown_function"])
        if arguments is None:
            return Counter(["not_an_object"])
        schema = self._parameters[name] or {"type": "object", "properties": {}, "additionalProperties": False}
        faults = Counter(_FAULT_NAMES.get(violation.code, "other") for violation in violations(schema, arguments))
        return faults + Counter(unknown_argument=len(undeclared_arguments(schema, arguments)))


def collect(examples: Iterable[Example]) -> list[dict[str, Any]]:
    """Every function that the examples define, in order of first sight; of versions that differ the most frequent."""
    versions: dict[str, Counter[str]] = {}
    for example in examples:
        for tool in in_one_form(example.tools, example.functions) or []:
            versions.setdefault(tool["function"]["name"], Counter())[json.dumps(tool, ensure_ascii=False)] += 1
    return [json.loads(counts.most_common(1)[0][0]) for counts in versions.values()]


def slim(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same definitions with names, types and enumerations only."""
    return [{**tool, "function": _without_words(tool["function"])} for tool in tools]


def as_shown(tools: list[dict[str, Any]] | None, shown: Shown) -> list[dict[str, Any]] | None:
    if not tools or shown == "none":
        return None
    return tools if shown == "full" else slim(tools)


def _without_words(schema: Any, *, names: bool = False) -> Any:
    """`names`: the keys of this object are names of arguments, which may well be called "description"."""
    if isinstance(schema, dict):
        return {
            key: _without_words(value, names=key in ("properties", "$defs", "definitions") and not names)
            for key, value in schema.items()
            if names or key not in _WORDS
        }
    return [_without_words(item) for item in schema] if isinstance(schema, list) else schema
