"""Tool definitions: collects them from examples, reduces their detail, and validates calls against them."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

from luthier.data.examples.json_schema import undeclared_arguments, violations

Tools = list[dict[str, Any]]
DefinitionDetail = Literal["full", "slim", "none"]
DETAIL_LEVELS: tuple[DefinitionDetail, ...] = ("full", "slim", "none")
# Keys with text for people, which a slim definition lacks. Names, types, enumerations and `required` stay.
_TEXT_KEYS = ("description", "title", "examples", "$comment")
_FAULT_NAMES = {  # in reports, by finding code
    "argument_missing": "missing_required",
    "argument_unknown": "unknown_argument",
    "argument_type": "wrong_type",
    "argument_not_in_enum": "not_in_enum",
}


class FunctionSchemas:
    """A set of functions by name, in today's form (`{"type": "function", "function": {...}}`)."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._parameters = {tool["function"]["name"]: tool["function"].get("parameters") for tool in tools}

    def __bool__(self) -> bool:
        return bool(self.tools)

    @property
    def names(self) -> list[str]:
        return list(self._parameters)

    def faults(self, name: str, arguments: dict[str, Any] | None) -> Counter[str]:
        """How a call violates its function's schema; empty if it does not. `arguments`: None if not a JSON object.

        Keys: unknown_function, not_an_object, missing_required, unknown_argument, wrong_type, not_in_enum, other.
        """
        if name not in self._parameters:
            return Counter(["unknown_function"])
        if arguments is None:
            return Counter(["not_an_object"])
        schema = self._parameters[name] or {"type": "object", "properties": {}, "additionalProperties": False}
        faults = Counter(_FAULT_NAMES.get(violation.code, "other") for violation in violations(schema, arguments))
        return faults + Counter(unknown_argument=len(undeclared_arguments(schema, arguments)))


def collect_definitions(tool_lists: Iterable[Tools]) -> Tools:
    """Every defined function, in order of first occurrence; if versions differ, the most frequent one."""
    versions: dict[str, Counter[str]] = {}
    for tools in tool_lists:
        for tool in tools:
            versions.setdefault(tool["function"]["name"], Counter())[json.dumps(tool, ensure_ascii=False)] += 1
    return [json.loads(counts.most_common(1)[0][0]) for counts in versions.values()]


def slim(tools: Tools) -> Tools:
    """The same definitions with names, types and enumerations only."""
    return [{**tool, "function": _without_text(tool["function"])} for tool in tools]


def with_detail(tools: Tools | None, detail: DefinitionDetail) -> Tools | None:
    """The definitions that a prompt contains at this level of detail; None if it contains none."""
    if not tools or detail == "none":
        return None
    return tools if detail == "full" else slim(tools)


def _without_text(schema: Any, *, keys_are_names: bool = False) -> Any:
    """A copy without `_TEXT_KEYS`. `keys_are_names`: the keys of this object are names, which may be "description"."""
    if isinstance(schema, dict):
        return {
            key: _without_text(
                value, keys_are_names=key in ("properties", "$defs", "definitions") and not keys_are_names
            )
            for key, value in schema.items()
            if keys_are_names or key not in _TEXT_KEYS
        }
    return [_without_text(element) for element in schema] if isinstance(schema, list) else schema
