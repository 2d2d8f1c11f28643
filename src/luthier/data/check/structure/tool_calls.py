"""Checks of calls and definitions: their form, whether they match, and whether arguments satisfy their schema."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from luthier.data.check.registry import Conversation, Findings, example_check, message_check
from luthier.data.examples.example import calls_in, definitions_in, name_of
from luthier.data.examples.json_schema import schema_error, undeclared_arguments, violations
from luthier.data.findings import Finding, FindingError, make_finding, printable
from luthier.data.jsonl.reader import parse_json
from luthier.types.sized_cache import sized_cache

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # as the API defines it
_MAX_DEFINITIONS = 128  # in one request, as the API limits it
_DEFINITION_KEYS = ("tools", "functions", "parallel_tool_calls")


@message_check
def call_form(message: dict[str, Any]) -> Findings:
    tool_calls = message.get("tool_calls")
    if not isinstance(tool_calls, list | None):
        yield make_finding("call_invalid", key="tool_calls")
        return
    for index, call in enumerate(tool_calls or []):
        if isinstance(call, dict) and call.get("type", "function") != "function":
            yield make_finding("call_invalid", key=f"tool_calls[{index}].type")
        elif isinstance(call, dict) and not isinstance(call.get("id"), str | None):
            yield make_finding("call_invalid", key=f"tool_calls[{index}].id")
    ids = Counter(str(call.get("id")) for call in tool_calls or [] if isinstance(call, dict) and call.get("id"))
    for call_id in (call_id for call_id, count in ids.items() if count > 1):
        yield make_finding("call_id_repeated", key="tool_calls", value=call_id)
    for path, call in calls_in(message):
        if isinstance(call, str):
            yield make_finding("call_invalid", key=path, value=call, detail="text")
        elif name_of(call) is None:
            yield make_finding("call_invalid", key=path)
        else:
            yield from _check_arguments(f"{path}.arguments", call.get("arguments"))


def _check_arguments(path: str, arguments: Any) -> Findings:
    """Arguments are JSON in a string, as in the API, although most chat templates need the object that it encodes."""
    if not isinstance(arguments, str):
        yield make_finding("arguments_not_json", key=path, value=arguments)
        return
    try:
        value = parse_json(arguments)
    except FindingError:
        yield make_finding("arguments_not_json", key=path, value=arguments)
        return
    if isinstance(value, str) and _is_object(value):
        yield make_finding("arguments_encoded_twice", key=path, value=arguments)
    elif not isinstance(value, dict):
        yield make_finding(
            "arguments_not_object", key=path, value=arguments, detail="empty list" if value == [] else ""
        )


def _is_object(text: str) -> bool:
    try:
        return isinstance(parse_json(text), dict)
    except FindingError:
        return False


class _Definitions(NamedTuple):
    """The definitions of one example: their faults, and the parameters of each well-formed one by name."""

    faults: tuple[Finding, ...]
    parameters: dict[str, Any]


@example_check(in_preference_input=True)
def definitions(example: dict[str, Any], conversation: Conversation) -> Findings:
    yield from _definitions_of(example).faults


@example_check(in_preference_input=True, in_preference_output=True)
def undefined_functions(example: dict[str, Any], conversation: Conversation) -> Findings:
    """Without definitions every name is allowed: such examples teach calls of functions that requests do not define."""
    names = _definitions_of(example).parameters
    if not names:
        return
    for index, message in conversation:
        for path, call in calls_in(message):
            if (name := name_of(call)) and name not in names:
                finding = make_finding(
                    "undefined_function", key=f"{path}.name", value=name, detail=", ".join(sorted(names))
                )
                yield replace(finding, message_index=index)


@example_check(in_preference_input=True, in_preference_output=True)
def argument_schemas(example: dict[str, Any], conversation: Conversation) -> Findings:
    """Validates arguments that are objects against the parameters that the example defines for their function."""
    parameters = _definitions_of(example).parameters
    if not parameters:
        return
    for index, message in conversation:
        for path, call in calls_in(message):
            schema = parameters.get(name_of(call) or "")
            arguments = _arguments_object(call) if isinstance(schema, dict) else None
            if schema and arguments is not None:
                for finding in _schema_findings(schema, arguments, f"{path}.arguments"):
                    yield replace(finding, message_index=index)


def _definitions_of(example: dict[str, Any]) -> _Definitions:
    """Cached, because examples of one file mostly have the same definitions."""
    fields = {key: example[key] for key in _DEFINITION_KEYS if example.get(key) is not None}
    if not fields:
        return _Definitions((), {})
    try:
        return _cached_definitions(orjson.dumps(fields))
    except TypeError:  # an integer of more than 64 bits
        return _read_definitions(fields)


@sized_cache
def _cached_definitions(fields: bytes) -> _Definitions:
    return _read_definitions(orjson.loads(fields))


def _read_definitions(fields: dict[str, Any]) -> _Definitions:
    parameters = {
        name: function.get("parameters") for _, function in definitions_in(fields) if (name := name_of(function))
    }
    return _Definitions(tuple(_definition_faults(fields)), parameters)


def _definition_faults(fields: dict[str, Any]) -> Findings:
    for key in ("tools", "functions"):
        if not isinstance(fields.get(key), list | None):
            yield make_finding("definition_invalid", key=key, value=fields[key])
    names: set[tuple[str, str]] = set()  # with the key of the list that defines them
    for path, definition in definitions_in(fields):
        parameters = definition.get("parameters") if isinstance(definition, dict) else None
        if name_of(definition) is None or not isinstance(parameters, dict | None):
            faulty = fields[path.partition("[")[0]] if definition is None else definition
            yield make_finding("definition_invalid", key=path, value=faulty)
            continue
        name = str(name_of(definition))
        if not _NAME.fullmatch(name):
            yield make_finding("function_name", key=path, value=name)
        place = path.partition("[")[0], name
        if place in names:
            yield make_finding("definition_repeated", key=path, value=name)
        names.add(place)
        if parameters and (error := schema_error(parameters)):
            yield make_finding("definition_schema_invalid", key=f"{path}.parameters", value=error)
    if len(names) > _MAX_DEFINITIONS:
        yield make_finding("definitions_many", value=len(names), detail=str(_MAX_DEFINITIONS))
    if not isinstance(fields.get("parallel_tool_calls"), bool | None):
        yield make_finding("definition_invalid", key="parallel_tool_calls", value=fields["parallel_tool_calls"])


def _schema_findings(schema: dict[str, Any], arguments: dict[str, Any], path: str) -> Findings:
    for violation in violations(schema, arguments):
        key = f"{path}.{violation.path}" if violation.path else path
        yield make_finding(violation.code, key=key, value=violation.value, detail=printable(violation.expected))
    for name in undeclared_arguments(schema, arguments):
        declared = printable(", ".join(schema["properties"]))
        yield replace(
            make_finding("argument_unknown", key=f"{path}.{name}", value=name, detail=declared), severity="warning"
        )


def _arguments_object(call: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments of a call as an object; None if they are not a JSON object in a string."""
    try:
        value = parse_json(call["arguments"]) if isinstance(call.get("arguments"), str) else None
    except FindingError:
        return None
    return value if isinstance(value, dict) else None
