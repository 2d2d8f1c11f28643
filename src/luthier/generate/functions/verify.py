"""Verifies an example: its arguments against the schema, and its message against the arguments."""

from collections.abc import Sequence

from jsonschema import Draft202012Validator

from luthier.generate.functions.enumerate import Invocation
from luthier.generate.functions.grounding import missing_values


def schema_violation(invocation: Invocation) -> str | None:
    """The validator's message for the first violation, unknown arguments included; None for a valid call."""
    definition = invocation.definition
    unknown = [name for name in invocation.arguments if name not in definition.properties]
    if unknown:
        return f"unexpected argument {unknown[0]}"
    validator = Draft202012Validator(definition.parameters, format_checker=Draft202012Validator.FORMAT_CHECKER)
    error = next(iter(validator.iter_errors(invocation.arguments)), None)
    return None if error is None else f"{'.'.join(map(str, error.path)) or 'arguments'}: {error.message}"


def rejection_reason(text: str, calls: Sequence[Invocation]) -> str | None:
    """Why the message cannot stand for these calls: schema, value_missing or empty; None if it can."""
    if not text.strip():
        return "empty"
    for call in calls:
        if schema_violation(call):
            return "schema"
        if missing_values(text, call.arguments):
            return "value_missing"
    return None
