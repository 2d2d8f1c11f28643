"""Each example held against its definitions before it is kept: name, JSON Schema, and the user's words.

Knows finished invocations with their phrasing; the form of an example is another file's.
"""

from collections.abc import Sequence

from jsonschema import Draft202012Validator

from luthier.generate.functions.enumerate import Invocation
from luthier.generate.functions.grounding import missing_values


def schema_fault(invocation: Invocation) -> str | None:
    """What breaks the schema, in its validator's words; also an argument that no property names."""
    definition = invocation.definition
    unknown = [name for name in invocation.arguments if name not in definition.properties]
    if unknown:
        return f"unexpected argument {unknown[0]}"
    check = Draft202012Validator(definition.parameters, format_checker=Draft202012Validator.FORMAT_CHECKER)
    error = next(iter(check.iter_errors(invocation.arguments)), None)
    return None if error is None else f"{'.'.join(map(str, error.path)) or 'arguments'}: {error.message}"


def phrasing_fault(text: str, calls: Sequence[Invocation]) -> str | None:
    """The reason not to keep a phrasing of these calls: schema, value_missing or empty."""
    if not text.strip():
        return "empty"
    for call in calls:
        if schema_fault(call):
            return "schema"
        if missing_values(text, call.arguments):
            return "value_missing"
    return None
