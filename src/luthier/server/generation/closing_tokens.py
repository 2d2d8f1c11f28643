"""Tokens of a response's budget that are reserved so that a required call can be completed within it."""

from typing import Any

from luthier.server.generation.tool_calls import CallPolicy

_END_TOKENS = 12  # of the ends of strings, objects and the call
_CHARACTERS_PER_TOKEN = 2  # characters per token of keys and literals; small models have fewer
_VALUE_CHARACTERS, _UNKNOWN_CHARACTERS = 4, 32


def closing_tokens(calls: CallPolicy, max_tokens: int) -> int:
    """The number of reserved tokens: enough for the required members of any function, at most half of the budget; 0
    without a required call."""
    if not (calls.required and calls.enforced):
        return 0
    longest = max(_characters(tool["function"].get("parameters") or {}) for tool in calls.enforced)
    return min(_END_TOKENS + longest // _CHARACTERS_PER_TOKEN, max_tokens // 2)


def _characters(schema: Any) -> int:
    """The approximate length of the shortest value."""
    if not isinstance(schema, dict) or "$ref" in schema:
        return _UNKNOWN_CHARACTERS
    if isinstance(schema.get("enum"), list):
        return max((len(str(value)) for value in schema["enum"]), default=0)
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return _VALUE_CHARACTERS
    required = [key for key in schema.get("required") or [] if key in properties]
    return sum(len(key) + _VALUE_CHARACTERS + _characters(properties[key]) for key in required)
