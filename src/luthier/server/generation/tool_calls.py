"""Function calls in both of OpenAI's forms: what a request allows and requires, and calls as they are sent.

`tools` is today's form, `functions` the legacy one, which fine-tuned models may have been trained on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.data.examples.messages import Call, normalize_tools
from luthier.types.chat import AllowedToolsChoice, CreateChatCompletionRequest, FunctionCall, NamedTool, ToolCall
from luthier.types.common import new_id
from luthier.types.errors import BadRequestError

WireForm = Literal["tools", "functions"]
StrictCalls = Literal["taught", "all", "off"]
Definitions = list[dict[str, Any]]


@dataclass(frozen=True)
class CallPolicy:
    """How the calls of one request are prompted, constrained, parsed and sent.

    Attributes:
        wire_form: The form in which calls are sent; None: generated text is not parsed for calls.
        parallel: Whether a choice may have several calls.
        prompt_definitions: The request's definitions, as tools, for the prompt.
        definitions: The request's definitions, else those that the model was trained with.
        enforced: The only functions that the model can call, by a grammar; None: calls are not constrained.
        requested: Whether the request asks for constrained calls: a schema that cannot be enforced is then an error.
        required: Whether the choice must be a call.
        forced_prefix: What the text is forced to begin with, when a call is required and no definition is known.
    """

    wire_form: WireForm | None = None
    parallel: bool = True
    prompt_definitions: Definitions | None = None
    definitions: Definitions | None = None
    enforced: Definitions | None = None
    requested: bool = False
    required: bool = False
    forced_prefix: str = ""


def call_policy(
    body: CreateChatCompletionRequest, metadata: AdapterMetadata, *, strict: StrictCalls = "off"
) -> CallPolicy:
    """By the request, else by the `metadata` of a fine-tuned model; `strict`: the setting `strict_calls`.

    Raises BadRequestError.
    """
    _check_choice(body, metadata)
    choice = body.tool_choice if body.tool_choice is not None else body.function_call
    if choice == "none":
        return CallPolicy()
    sent = _request_definitions(body)
    definitions = sent or metadata.definitions or None
    required = _is_required(choice)
    requested = required or isinstance(choice, AllowedToolsChoice) or any(_is_strict(tool) for tool in sent or [])
    enforced = requested or strict == "all" or (strict == "taught" and bool(metadata.definitions))
    legacy = bool(body.functions) or (metadata.call_form == "functions" and not body.tools)
    return CallPolicy(
        wire_form=("functions" if legacy else "tools") if sent or metadata.call_form else None,
        parallel=body.parallel_tool_calls is not False and not legacy,
        prompt_definitions=sent,
        definitions=definitions,
        enforced=_allowed(definitions, choice) if enforced and definitions else None,
        requested=requested,
        required=required,
        forced_prefix=forced_prefix(choice) if required and not definitions else "",
    )


def _request_definitions(body: CreateChatCompletionRequest) -> Definitions | None:
    tools = [tool.model_dump(exclude_none=True) for tool in body.tools or []]
    functions = [function.model_dump(exclude_none=True) for function in body.functions or []]
    return normalize_tools(tools, functions)


def _is_strict(tool: dict[str, Any]) -> bool:
    return bool(tool["function"].get("strict"))


def _is_required(choice: Any) -> bool:
    if isinstance(choice, AllowedToolsChoice):
        return choice.allowed_tools.mode == "required"
    return choice == "required" or _named_functions(choice) is not None


def _named_functions(choice: Any) -> list[str] | None:
    """The functions that a choice names; None when it names none."""
    if isinstance(choice, AllowedToolsChoice):
        return [tool.function.name for tool in choice.allowed_tools.tools]
    if choice is None or isinstance(choice, str):
        return None
    return [choice.function.name if isinstance(choice, NamedTool) else choice.name]


def _allowed(definitions: Definitions, choice: Any) -> Definitions:
    names = _named_functions(choice)
    return [tool for tool in definitions if names is None or tool["function"]["name"] in names]


def _check_choice(body: CreateChatCompletionRequest, metadata: AdapterMetadata) -> None:
    """Raises BadRequestError for a choice without definitions, and for one of an unknown function."""
    if body.functions and body.tools:
        raise BadRequestError("'functions' and 'tools' cannot be sent together.", param="functions")
    for param, choice, field, sent_names in (
        ("tool_choice", body.tool_choice, "tools", [tool.function.name for tool in body.tools or []]),
        ("function_call", body.function_call, "functions", [function.name for function in body.functions or []]),
    ):
        if choice is None:
            continue
        # A model that was trained to call without definitions may be required to.
        trained = metadata.call_form is not None and not (body.tools or body.functions)
        if not sent_names and not trained:
            message = f"Invalid value for '{param}': '{param}' is only allowed when '{field}' are specified."
            raise BadRequestError(message, param=param)
        names = sent_names or [tool["function"]["name"] for tool in metadata.definitions]
        unknown = [name for name in _named_functions(choice) or [] if names and name not in names]
        if unknown:
            where = f"the '{field}'" if sent_names else "the functions that this model was trained with"
            message = f"Invalid value for '{param}': the function '{unknown[0]}' is not among {where}."
            raise BadRequestError(message, param=param)


def forced_prefix(choice: Any) -> str:
    """The beginning of a call, with the function's name where `choice` names a single one."""
    names = _named_functions(choice)
    if names is None or len(names) > 1:
        return '<tool_call>\n{"name":'
    return f'<tool_call>\n{{"name": {json.dumps(names[0], ensure_ascii=False)}, "arguments":'


@dataclass(frozen=True)
class GeneratedCalls:
    """The calls of a choice as they are sent: `tool_calls` or, in the legacy form, `function_call`."""

    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None

    def deltas(self) -> list[dict[str, Any]]:
        """For chunks: each call begins with its name and empty arguments; the arguments follow."""
        if self.function_call:
            name, arguments = self.function_call.name, self.function_call.arguments
            return [{"function_call": {"name": name, "arguments": ""}}, {"function_call": {"arguments": arguments}}]
        deltas: list[dict[str, Any]] = []
        for index, call in enumerate(self.tool_calls or []):
            opening = call.model_dump() | {"function": {"name": call.function.name, "arguments": ""}}
            deltas.append({"tool_calls": [{"index": index, **opening}]})
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": call.function.arguments}}]})
        return deltas


def wire_calls(calls: Sequence[Call], policy: CallPolicy) -> GeneratedCalls:
    """The legacy form has one call, and so have requests without parallel calls: the first."""
    functions = [
        FunctionCall(name=_encodable(call.name), arguments=_escape_surrogates(call.arguments)) for call in calls
    ]
    if policy.wire_form == "functions":
        return GeneratedCalls(function_call=functions[0])
    functions = functions if policy.parallel else functions[:1]
    return GeneratedCalls([ToolCall(id=new_id("call_"), type="function", function=function) for function in functions])


def _encodable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _escape_surrogates(arguments: str) -> str:
    """A model may generate the escape of a lone surrogate; in JSON text it can be sent as that escape only."""
    return "".join(f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char for char in arguments)
