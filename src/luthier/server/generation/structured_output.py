"""The grammar that an answer must follow: a JSON document, calls of known functions, or text with such calls in it.

JSON is written with one blank after commas and colons, as the training data is rendered; a small model that may put
in any white space sometimes puts in nothing else.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from luthier.inference.scheduling.structured_output import check
from luthier.server.generation import unordered_json
from luthier.server.generation.tool_calls import CallRules
from luthier.server.generation.unordered_json import as_json
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.errors import BadRequestError

_TRIGGER = "<tool_call>"


@dataclass(frozen=True)
class Constraint:
    """`document`: the schema of a JSON answer, None for text; `functions`: definitions of what may be called.

    `required`: the answer is a call; `parallel`: it may be several.
    """

    document: dict[str, Any] | None = None
    functions: list[dict[str, Any]] | None = None
    required: bool = False
    parallel: bool = True

    def grammar(self) -> str:
        """In Lark, as llguidance reads it."""
        rules = []
        if self.document is not None:
            rules.append(f"document: %json {as_json(self.document)}")
        if self.functions:
            names = [f"call_{index}" for index in range(len(self.functions))]
            more = ' ("\\n" opening call)*' if self.parallel else ""
            rules += [f"calls: opening call{more}", f"opening: {json.dumps(_TRIGGER)}", f"call: {' | '.join(names)}"]
            rules += [line for index, tool in enumerate(self.functions) for line in _call(index, tool["function"])]
        rules.append(self._start())
        return "%llguidance {}\n" + "\n".join(rules) + "\n"

    def _start(self) -> str:
        if not self.functions:
            return "start: document"
        if self.required:
            return "start: calls"
        if self.document is not None:
            return "start: document | calls"
        more = ' ("\\n" opening call)*' if self.parallel else ""
        return (
            f"start: TEXT | lead call{more}\n"
            f"lead[lazy]: /(.|\\n)*/ {json.dumps(_TRIGGER)}\n"
            f"TEXT: /(.|\\n)*/ & ~/(.|\\n)*{_TRIGGER}(.|\\n)*/"
        )


def grammar_for(body: CreateChatCompletionRequest, calls: CallRules) -> str | None:
    """What the request holds its answer to; None where it does not. Raises BadRequestError."""
    for index, tool in enumerate(body.tools or []):
        if tool.function.strict:
            param = f"tools[{index}].function.parameters"
            _check_strict(closed(tool.function.parameters), f"function '{tool.function.name}'", param)
    document = _document(body)
    functions = calls.known if document is not None and calls.form else calls.held_to
    if document is None and not functions:
        return None
    if document is None and functions and not calls.asked:
        return _as_far_as_it_goes(json.dumps(functions), parallel=calls.parallel)
    made = Constraint(document, functions, calls.required, calls.parallel).grammar()
    _checked(made, "tools" if document is None else "response_format")
    return made


@lru_cache(maxsize=64)
def _as_far_as_it_goes(functions: str, *, parallel: bool) -> str | None:
    """Nobody asked to be held, so no schema is an error: of a function whose schema the engine does not take, or of
    all where they are too many for it, the names alone are held; and nothing where even these are too many.
    """
    exact: list[dict[str, Any]] = json.loads(functions)
    names = [_by_name(tool) for tool in exact]
    chosen = exact if _is_taken(exact) else names if _is_taken(names) else None
    if chosen is names:  # the names fit: then there are not so many that one by one would take long
        some = [tool if _is_taken([tool]) else name for tool, name in zip(exact, names, strict=True)]
        chosen = some if _is_taken(some) else names
    return Constraint(functions=chosen, parallel=parallel).grammar() if chosen else None


def _is_taken(functions: list[dict[str, Any]]) -> bool:
    try:
        check(Constraint(functions=functions).grammar(), "tools")
    except BadRequestError:
        return False
    return True


def _by_name(tool: dict[str, Any]) -> dict[str, Any]:
    return {"function": {"name": tool["function"]["name"], "parameters": {"additionalProperties": True}}}


@lru_cache(maxsize=256)
def _checked(grammar: str, param: str) -> None:
    check(grammar, param)


def _document(body: CreateChatCompletionRequest) -> dict[str, Any] | None:
    form = body.response_format
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        if not any("json" in message.model_dump_json(include={"content"}).lower() for message in body.messages):
            message = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            raise BadRequestError(message, param="messages")
        return {"type": "object"}
    if form.json_schema is None:
        message = "Missing required parameter: 'response_format.json_schema'."
        raise BadRequestError(message, param="response_format.json_schema", code="missing_required_parameter")
    schema = form.json_schema.document or {"type": "object"}
    if form.json_schema.strict:
        _check_strict(schema, f"response_format '{form.json_schema.name}'", "response_format")
    return schema


def _check_strict(schema: dict[str, Any], of: str, param: str) -> None:
    """OpenAI's rules for strict schemas: an object names all that it may hold, and all of it is required."""
    for path, part in _objects(schema, ()):
        wrong = None
        if part.get("additionalProperties") is not False:
            wrong = "'additionalProperties' is required to be supplied and to be false"
        required = part.get("required")
        missing = [key for key in _named(part, "properties") if not isinstance(required, list) or key not in required]
        if missing:
            wrong = (
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{missing[0]}'"
            )
        if wrong:
            place = "(" + ", ".join(f"'{step}'" for step in path) + ("," if len(path) == 1 else "") + ")"
            message = f"Invalid schema for {of}: In context={place}, {wrong}."
            raise BadRequestError(
                message, param=param, code="invalid_function_parameters" if "tools" in param else None
            )


def _objects(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every object schema inside, with the way to it."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from _objects(item, (*path, str(index)))
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" or "properties" in schema:
        yield path, schema
    for key, value in _named(schema, "properties").items():
        yield from _objects(value, (*path, "properties", key))
    for key in ("items", "anyOf", "oneOf", "allOf"):
        yield from _objects(schema.get(key), (*path, key))
    for key in ("$defs", "definitions"):
        for name, value in _named(schema, key).items():
            yield from _objects(value, (*path, key, name))


def _named(schema: dict[str, Any], key: str) -> dict[str, Any]:
    """Schemas by name; nothing where something else stands in their place, which the grammar's own check refuses."""
    found = schema.get(key)
    return found if isinstance(found, dict) else {}


def _call(index: int, function: dict[str, Any]) -> list[str]:
    opening = f'\n{{"name": {json.dumps(function["name"], ensure_ascii=False)}, "arguments": '
    return [
        f"call_{index}: {json.dumps(opening, ensure_ascii=False)} arguments_{index} {json.dumps('}')} "
        f"{json.dumps(chr(10) + '</tool_call>')}",
        *unordered_json.rules(f"arguments_{index}", closed(function.get("parameters"))),
    ]


def closed(parameters: dict[str, Any] | None) -> dict[str, Any]:
    """The schema of a function's arguments, without room for arguments that it does not name."""
    schema = dict(parameters or {})
    if not schema.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        schema.setdefault("type", "object")
        schema.setdefault("properties", {})
        schema.setdefault("additionalProperties", False)
    return schema
