"""Structured outputs: the grammar of a response, which is a JSON document, calls, or text with calls in it.

JSON has one space after commas and colons, as rendered training data has: a small model that may generate any
whitespace sometimes generates nothing else.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from luthier.inference.scheduling.structured_output import validate_grammar
from luthier.server.generation.strict_schema import check_strict
from luthier.server.generation.tool_calls import CallPolicy, Definitions
from luthier.server.generation.unordered_json import argument_rules, schema_json
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.errors import BadRequestError

_CALL_OPENS = "<tool_call>"


@dataclass(frozen=True)
class ResponseGrammar:
    """What a response may be.

    Attributes:
        document: The schema of a JSON document; None: the response is text.
        functions: Definitions of the functions that may be called.
        required: Whether the response must be a call.
        parallel: Whether it may be several calls.
    """

    document: dict[str, Any] | None = None
    functions: Definitions | None = None
    required: bool = False
    parallel: bool = True

    def lark(self) -> str:
        """The grammar for llguidance."""
        rules = []
        if self.document is not None:
            rules.append(f"document: %json {schema_json(self.document)}")
        if self.functions:
            names = [f"call_{index}" for index in range(len(self.functions))]
            rules += [
                f"calls: opening call{self._more_calls}",
                f"opening: {json.dumps(_CALL_OPENS)}",
                f"call: {' | '.join(names)}",
            ]
            rules += [
                rule for index, tool in enumerate(self.functions) for rule in _call_rules(index, tool["function"])
            ]
        rules.append(self._start_rule())
        return "%llguidance {}\n" + "\n".join(rules) + "\n"

    @property
    def _more_calls(self) -> str:
        return ' ("\\n" opening call)*' if self.parallel else ""

    def _start_rule(self) -> str:
        if not self.functions:
            return "start: document"
        if self.required:
            return "start: calls"
        if self.document is not None:
            return "start: document | calls"
        return (
            f"start: TEXT | lead call{self._more_calls}\n"
            f"lead[lazy]: /(.|\\n)*/ {json.dumps(_CALL_OPENS)}\n"
            f"TEXT: /(.|\\n)*/ & ~/(.|\\n)*{_CALL_OPENS}(.|\\n)*/"
        )


def response_grammar(body: CreateChatCompletionRequest, calls: CallPolicy) -> str | None:
    """The grammar that constrains the response; None for unconstrained text. Raises BadRequestError."""
    for index, tool in enumerate(body.tools or []):
        if tool.function.strict:
            param = f"tools[{index}].function.parameters"
            check_strict(close_schema(tool.function.parameters), f"function '{tool.function.name}'", param)
    document = _document_schema(body)
    functions = calls.definitions if document is not None and calls.wire_form else calls.enforced
    if document is None and not functions:
        return None
    if document is None and functions and not calls.requested:
        return _best_effort_grammar(json.dumps(functions), parallel=calls.parallel)
    grammar = ResponseGrammar(document, functions, calls.required, calls.parallel).lark()
    _check_cached(grammar, "tools" if document is None else "response_format")
    return grammar


@lru_cache(maxsize=64)
def _best_effort_grammar(functions: str, *, parallel: bool) -> str | None:
    """For constraints that the request does not ask for, so that no schema is an error.

    A function whose schema llguidance does not support is constrained by its name only, all functions are where
    together they are too large, and none where even the names are.
    """
    exact: Definitions = json.loads(functions)
    names = [_name_only(tool) for tool in exact]
    chosen = exact if _is_supported(exact) else names if _is_supported(names) else None
    if chosen is names:  # the names fit, so there are few enough functions to check one by one
        mixed = [tool if _is_supported([tool]) else name for tool, name in zip(exact, names, strict=True)]
        chosen = mixed if _is_supported(mixed) else names
    return ResponseGrammar(functions=chosen, parallel=parallel).lark() if chosen else None


def _is_supported(functions: Definitions) -> bool:
    try:
        validate_grammar(ResponseGrammar(functions=functions).lark(), "tools")
    except BadRequestError:
        return False
    return True


def _name_only(tool: dict[str, Any]) -> dict[str, Any]:
    return {"function": {"name": tool["function"]["name"], "parameters": {"additionalProperties": True}}}


@lru_cache(maxsize=256)
def _check_cached(grammar: str, param: str) -> None:
    validate_grammar(grammar, param)


def _document_schema(body: CreateChatCompletionRequest) -> dict[str, Any] | None:
    response_format = body.response_format
    if response_format is None or response_format.type == "text":
        return None
    if response_format.type == "json_object":
        if not any("json" in message.model_dump_json(include={"content"}).lower() for message in body.messages):
            message = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            raise BadRequestError(message, param="messages")
        return {"type": "object"}
    json_schema = response_format.json_schema
    if json_schema is None:
        message = "Missing required parameter: 'response_format.json_schema'."
        raise BadRequestError(message, param="response_format.json_schema", code="missing_required_parameter")
    schema = json_schema.document or {"type": "object"}
    if json_schema.strict:
        check_strict(schema, f"response_format '{json_schema.name}'", "response_format")
    return schema


def _call_rules(index: int, function: dict[str, Any]) -> list[str]:
    opening = f'\n{{"name": {json.dumps(function["name"], ensure_ascii=False)}, "arguments": '
    return [
        f"call_{index}: {json.dumps(opening, ensure_ascii=False)} arguments_{index} {json.dumps('}')} "
        f"{json.dumps(chr(10) + '</tool_call>')}",
        *argument_rules(f"arguments_{index}", close_schema(function.get("parameters"))),
    ]


def close_schema(parameters: dict[str, Any] | None) -> dict[str, Any]:
    """The schema of a function's parameters without additional properties, unless it has a combinator or `$ref`."""
    schema = dict(parameters or {})
    if not schema.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        schema.setdefault("type", "object")
        schema.setdefault("properties", {})
        schema.setdefault("additionalProperties", False)
    return schema
