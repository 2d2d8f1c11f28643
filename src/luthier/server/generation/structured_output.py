"""Structured outputs: the grammar of a response, which may be a JSON document, calls, or text with calls.

JSON has one space after commas and colons, like rendered training data: a small model that may generate any whitespace
sometimes generates nothing else.
"""

import json
from dataclasses import dataclass
from typing import Any

from luthier.data.examples.call_survey import CopySource
from luthier.data.rendering.argument_grammar import close_schema, schema_json
from luthier.data.rendering.call_form import CallForm
from luthier.data.rendering.copy_grammar import CopyRules
from luthier.data.rendering.hermes_form import HERMES
from luthier.inference.scheduling.structured_output import validate_grammar
from luthier.server.generation.schema_support import first_unsupported, is_supported, relaxed
from luthier.server.generation.strict_schema import check_strict, context_of
from luthier.server.generation.tool_calls import CallPolicy, Definitions, is_strict
from luthier.types.chat import CreateChatCompletionRequest, JsonSchema
from luthier.types.errors import BadRequestError
from luthier.types.sized_cache import sized_cache


@dataclass(frozen=True)
class ResponseGrammar:
    """The constraints on a response.

    Attributes:
        document: The schema of a JSON document; None: the response is text.
        functions: Definitions of the functions that may be called.
        required: Whether the response must be a call.
        parallel: Whether it may be several calls.
        form: How the base model writes calls.
        copies: The rules of copied arguments.
    """

    document: dict[str, Any] | None = None
    functions: Definitions | None = None
    required: bool = False
    parallel: bool = True
    form: CallForm = HERMES
    copies: CopyRules | None = None

    def lark(self) -> str:
        """The grammar for llguidance."""
        rules = []
        if self.document is not None:
            rules.append(f"document: %json {schema_json(self.document)}")
        if self.functions:
            rules += self.form.grammar_rules(self.functions, parallel=self.parallel)
        if self.copies:
            rules += self.copies.lark()
        rules += self._start_rules()
        return "%llguidance {}\n" + "\n".join(rules) + "\n"

    def _start_rules(self) -> list[str]:
        lead = self.form.lead_rule
        if not self.functions:
            is_text = self.document is None
            return [f"start: {lead}TEXT", self.form.no_call_rule] if is_text else [f"start: {lead}document"]
        if self.required:
            return ["start: calls"]
        if self.document is not None:
            return [f"start: {lead}document | calls"]
        return [f"start: {lead}TEXT | text_and_calls", self.form.text_rule]


def response_grammar(body: CreateChatCompletionRequest, calls: CallPolicy) -> str | None:
    """The grammar that constrains the response; None for unconstrained text. Raises BadRequestError."""
    for index, tool in enumerate(body.tools or []):
        if tool.function.strict:
            param = f"tools[{index}].function.parameters"
            check_strict(close_schema(tool.function.parameters), f"function '{tool.function.name}'", param)
    document = _document_schema(body)
    functions = calls.definitions if document is not None and calls.wire_form else calls.enforced
    if calls.forbidden and document is None:
        return ResponseGrammar(form=calls.form).lark()
    if document is None and not functions:
        return None
    chosen = _enforceable(json.dumps(functions), calls.form) if functions else None
    if document is None and not chosen:
        if calls.required:
            message = "Invalid 'tools': the definitions are too large for a required call. Send fewer functions."
            raise BadRequestError(message, param="tools")
        return None
    copies = None
    if chosen and calls.copied:
        copies = CopyRules(CopySource([message.model_dump(exclude_none=True) for message in body.messages]))
        chosen = copies.hold(chosen, calls.copied)
    grammar = ResponseGrammar(document, chosen, calls.required, calls.parallel, calls.form, copies).lark()
    if document is not None:
        _check_cached(grammar, "response_format")
    return grammar


@sized_cache
def _enforceable(functions: str, form: CallForm) -> Definitions | None:
    """The functions with the parts of their schemas that can be enforced.

    A function with an unsupported schema is constrained by the supported part of it, or by its name. All functions are
    constrained only by their names if they are too large together, and not at all if even the names are.

    Raises:
        BadRequestError: For a strict function that cannot be enforced, with its name and the place.
    """
    exact: Definitions = json.loads(functions)
    if _fits(exact, form):
        return exact
    names = [_name_only(tool) for tool in exact]
    if _fits(names, form):  # so the functions are few enough to check one by one
        parts = [tool if _fits([tool], form) else _reduced(tool, index, form) for index, tool in enumerate(exact)]
        names = [tool if is_strict(tool) else name for tool, name in zip(exact, names, strict=True)]
        for candidates in (parts, names):
            if _fits(candidates, form):
                return candidates
    if any(is_strict(tool) for tool in exact):
        validate_grammar(ResponseGrammar(functions=exact, form=form).lark(), "tools")
    return None


def _fits(functions: Definitions, form: CallForm) -> bool:
    try:
        validate_grammar(ResponseGrammar(functions=functions, form=form).lark(), "tools")
    except BadRequestError:
        return False
    return True


def _reduced(tool: dict[str, Any], index: int, form: CallForm) -> dict[str, Any]:
    """The definition without the parts that cannot be enforced. Raises BadRequestError for a strict one."""
    function = tool["function"]
    if is_strict(tool):
        param = f"tools[{index}].function.parameters"
        raise _unsupported(function.get("parameters") or {}, f"function '{function['name']}'", param)
    parameters = relaxed(function.get("parameters"))
    if not isinstance(parameters, dict):
        return _name_only(tool)
    if "properties" not in parameters:  # the removed part may have named members
        parameters.setdefault("additionalProperties", True)
    smaller = {"function": function | {"parameters": parameters}}
    return smaller if _fits([smaller], form) else _name_only(tool)


def _name_only(tool: dict[str, Any]) -> dict[str, Any]:
    return {"function": {"name": tool["function"]["name"], "parameters": {"additionalProperties": True}}}


def _unsupported(schema: dict[str, Any], owner: str, param: str) -> BadRequestError:
    """The error for a strict schema that cannot be enforced: its owner and the place, in OpenAI's words."""
    path, keyword = first_unsupported(schema) or ((), None)
    fault = f"'{keyword}' is not permitted" if keyword else "this schema is not supported"
    message = f"Invalid schema for {owner}: In context={context_of(path)}, {fault}."
    return BadRequestError(message, param=param, code="invalid_function_parameters" if "tools" in param else None)


@sized_cache
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
    return _requested_schema(json_schema)


def _requested_schema(json_schema: JsonSchema) -> dict[str, Any]:
    """The schema to enforce: all of a strict one, or the enforceable part of any other."""
    schema = json_schema.document or {"type": "object"}
    if json_schema.strict:
        owner = f"response_format '{json_schema.name}'"
        check_strict(schema, owner, "response_format")
        if not is_supported(schema):
            raise _unsupported(schema, owner, "response_format")
        return schema
    reduced = relaxed(schema)
    return reduced if isinstance(reduced, dict) else {"type": "object"}
