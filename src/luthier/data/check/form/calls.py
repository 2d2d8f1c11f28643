"""Calls and definitions: their form, whether they belong together, and whether arguments keep to their schema."""

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from luthier.data.check.form.common import Conversation, Found
from luthier.data.check.form.schema import breaks, fault_of, unknown
from luthier.data.examples.example import calls_in, definitions_in, name_of
from luthier.data.findings import Finding, FindingError, problem, shown
from luthier.data.jsonl.reader import parse_json

_DEFINING = ("tools", "functions", "parallel_tool_calls")


def calls(message: dict[str, Any]) -> Found:
    tool_calls = message.get("tool_calls")
    if not isinstance(tool_calls, list | None):
        yield problem("call_invalid", key="tool_calls")
        return
    for index, call in enumerate(tool_calls or []):
        if isinstance(call, dict) and call.get("type", "function") != "function":
            yield problem("call_invalid", key=f"tool_calls[{index}].type")
        elif isinstance(call, dict) and not isinstance(call.get("id"), str | None):
            yield problem("call_invalid", key=f"tool_calls[{index}].id")
    for path, call in calls_in(message):
        if name_of(call) is None:
            yield problem("call_invalid", key=path)
        else:
            yield from _arguments(f"{path}.arguments", call.get("arguments"))


def _arguments(path: str, arguments: Any) -> Found:
    """The wire form is a string, even though most chat templates want the object that it holds."""
    if not isinstance(arguments, str):
        yield problem("arguments_not_json", key=path, seen=arguments)
        return
    try:
        value = parse_json(arguments)
    except FindingError:
        yield problem("arguments_not_json", key=path, seen=arguments)
        return
    if isinstance(value, str) and _is_object(value):
        yield problem("arguments_encoded_twice", key=path, seen=arguments)
    elif not isinstance(value, dict):
        yield problem("arguments_not_object", key=path, seen=arguments)


def _is_object(text: str) -> bool:
    try:
        return isinstance(parse_json(text), dict)
    except FindingError:
        return False


class _Defined(NamedTuple):
    """What an example defines: the faults of the definitions, and each well-formed one's parameters by name."""

    faults: tuple[Finding, ...]
    parameters: dict[str, Any]


def definitions(example: dict[str, Any], conversation: Conversation) -> Found:
    yield from _defined(example).faults


def undefined(example: dict[str, Any], conversation: Conversation) -> Found:
    """Without definitions every name is allowed: that is how a model learns to call without being told."""
    names = _defined(example).parameters
    if not names:
        return
    for index, message in conversation:
        for path, call in calls_in(message):
            if (name := name_of(call)) and name not in names:
                finding = problem("undefined_function", key=f"{path}.name", seen=name, detail=", ".join(sorted(names)))
                yield replace(finding, message_index=index)


def schemas(example: dict[str, Any], conversation: Conversation) -> Found:
    """Arguments that are objects, held against the parameters that the example defines for their function."""
    parameters = _defined(example).parameters
    if not parameters:
        return
    for index, message in conversation:
        for path, call in calls_in(message):
            schema = parameters.get(name_of(call) or "")
            arguments = _object(call) if isinstance(schema, dict) else None
            if schema and arguments is not None:
                for finding in _held_against(schema, arguments, f"{path}.arguments"):
                    yield replace(finding, message_index=index)


def _defined(example: dict[str, Any]) -> _Defined:
    """Examples of one file mostly define the same, so each set of definitions is looked at once."""
    given = {key: example[key] for key in _DEFINING if example.get(key) is not None}
    if not given:
        return _Defined((), {})
    try:
        return _looked_at(orjson.dumps(given))
    except TypeError:  # an integer of more than 64 bits
        return _look_at(given)


@lru_cache(maxsize=256)
def _looked_at(given: bytes) -> _Defined:
    return _look_at(orjson.loads(given))


def _look_at(given: dict[str, Any]) -> _Defined:
    parameters = {name: one.get("parameters") for _, one in definitions_in(given) if (name := name_of(one))}
    return _Defined(tuple(_faults(given)), parameters)


def _faults(given: dict[str, Any]) -> Found:
    for key in ("tools", "functions"):
        if not isinstance(given.get(key), list | None):
            yield problem("definition_invalid", key=key)
    for path, definition in definitions_in(given):
        parameters = definition.get("parameters") if isinstance(definition, dict) else None
        if name_of(definition) is None or not isinstance(parameters, dict | None):
            yield problem("definition_invalid", key=path)
        elif parameters and (fault := fault_of(parameters)):
            yield problem("definition_schema_invalid", key=f"{path}.parameters", seen=fault)
    if not isinstance(given.get("parallel_tool_calls"), bool | None):
        yield problem("definition_invalid", key="parallel_tool_calls")


def _held_against(schema: dict[str, Any], arguments: dict[str, Any], path: str) -> Found:
    for broken in breaks(schema, arguments):
        key = f"{path}.{broken.path}" if broken.path else path
        yield problem(broken.code, key=key, seen=broken.seen, detail=shown(broken.expected))
    for name in unknown(schema, arguments):
        named = shown(", ".join(schema["properties"]))
        yield replace(problem("argument_unknown", key=f"{path}.{name}", seen=name, detail=named), severity="warning")


def _object(call: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments of a call, if its form is right."""
    try:
        value = parse_json(call["arguments"]) if isinstance(call.get("arguments"), str) else None
    except FindingError:
        return None
    return value if isinstance(value, dict) else None
