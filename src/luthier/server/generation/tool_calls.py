"""Function calls in both of OpenAI's formats: the calls that a request allows and requires, and their representation in
responses.

`tools` is the current format, `functions` the legacy one, which fine-tuned models may have been trained on.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.data.examples.adapter_metadata import AdapterMetadata
from luthier.data.examples.call_survey import CopiedArguments
from luthier.data.examples.example import WireForm
from luthier.data.examples.messages import normalize_tools
from luthier.data.rendering.call_form import CallForm
from luthier.data.rendering.hermes_form import HERMES
from luthier.data.rendering.schema_shape import well_shaped
from luthier.data.rendering.thinking_reader import THINK, ReasoningMarks
from luthier.server.generation.strict_schema import context_of
from luthier.types.chat import AllowedToolsChoice, CreateChatCompletionRequest, FunctionCall, NamedTool, ToolCall
from luthier.types.errors import BadRequestError

StrictCalls = Literal["taught", "all", "copied", "off"]
Definitions = list[dict[str, Any]]


@dataclass(frozen=True)
class CallPolicy:
    """How the calls of one request are prompted, constrained, parsed and returned.

    Attributes:
        form: How the base model writes calls.
        wire_form: The form in which calls are sent; None: generated text is not parsed for calls.
        parallel: Whether a choice may have several calls. A model that must call but was not trained to, and one that
            must call a named function, may write several only if the request says so, because a small model that may
            continue does continue.
        prompt_definitions: The request's definitions, as tools, for the prompt.
        definitions: The request's definitions, else those that the model was trained with.
        enforced: The only functions that the model can call, by a grammar; None: calls are not constrained.
        required: Whether the choice must be a call.
        forbidden: Whether the choice must be text.
        reasoning: Whether reasoning is read apart from the answer, and whether the prompt has opened it.
        reasoning_marks: The markers around reasoning.
        copied: The arguments, by function, that take their values from the conversation only.
        forced_prefix: The forced beginning of the text if a call is required and no definition is known.
    """

    form: CallForm = HERMES
    wire_form: WireForm | None = None
    parallel: bool = True
    prompt_definitions: Definitions | None = None
    definitions: Definitions | None = None
    enforced: Definitions | None = None
    required: bool = False
    forbidden: bool = False
    reasoning: Literal["unread", "possible", "open"] = "unread"
    reasoning_marks: ReasoningMarks = THINK
    copied: CopiedArguments = field(default_factory=dict)
    forced_prefix: str = ""


def call_policy(
    body: CreateChatCompletionRequest,
    metadata: AdapterMetadata,
    *,
    strict: StrictCalls = "off",
    form: CallForm = HERMES,
) -> CallPolicy:
    """The policy of the request, otherwise of a fine-tuned model's `metadata`; `strict`: the setting `strict_calls`.

    Raises BadRequestError.
    """
    _check_choice(body, metadata)
    choice = body.tool_choice if body.tool_choice is not None else body.function_call
    if choice == "none":
        return CallPolicy(form=form, forbidden=True)
    sent = _request_definitions(body)
    definitions = sent or [_without_strict(tool) for tool in metadata.functions] or None
    required = _is_required(choice)
    requested = required or isinstance(choice, AllowedToolsChoice) or any(is_strict(tool) for tool in sent or [])
    possible = bool(sent) or requested or not _is_strict_document(body)  # otherwise the client expects the document
    enforced = possible and (requested or strict != "off")
    trained = metadata.call_form is not None
    legacy = bool(body.functions) or (metadata.call_form == "functions" and not body.tools)
    return CallPolicy(
        form=form,
        wire_form=("functions" if legacy else "tools") if possible and (sent or metadata.call_form) else None,
        parallel=not legacy and _is_parallel(body, single=_named_single(choice) or (required and not trained)),
        prompt_definitions=sent,
        definitions=definitions,
        enforced=_well_shaped(_allowed(definitions, choice)) if enforced and definitions else None,
        required=required,
        copied=metadata.copied if strict == "copied" else {},
        forced_prefix=_forced_prefix(choice, form) if required and not definitions else "",
    )


def _is_strict_document(body: CreateChatCompletionRequest) -> bool:
    schema = body.response_format.json_schema if body.response_format else None
    return schema is not None and bool(schema.strict)


def _well_shaped(definitions: Definitions) -> Definitions:
    """The definitions without malformed schema keywords. Raises BadRequestError for those of a strict function."""
    tools = []
    for tool in definitions:
        function = tool["function"]
        parameters, removed = well_shaped(function.get("parameters") or {})
        if removed and is_strict(tool):
            message = (
                f"Invalid schema for function '{function['name']}': In context={context_of(removed[0][:-1])}, the "
                f"value of '{removed[0][-1]}' has the wrong type."
            )
            raise BadRequestError(message, param="tools", code="invalid_function_parameters")
        tools.append({**tool, "function": {**function, "parameters": parameters}} if removed else tool)
    return tools


def is_strict(tool: dict[str, Any]) -> bool:
    return bool(tool["function"].get("strict"))


def _without_strict(tool: dict[str, Any]) -> dict[str, Any]:
    """A definition from the training data: the request does not ask for it to be strict."""
    return {**tool, "function": {key: value for key, value in tool["function"].items() if key != "strict"}}


def _request_definitions(body: CreateChatCompletionRequest) -> Definitions | None:
    tools = [tool.model_dump(exclude_none=True) for tool in body.tools or []]
    functions = [function.model_dump(exclude_none=True) for function in body.functions or []]
    return normalize_tools(tools, functions)


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


def _named_single(choice: Any) -> bool:
    return not isinstance(choice, AllowedToolsChoice) and _named_functions(choice) is not None


def _is_parallel(body: CreateChatCompletionRequest, *, single: bool) -> bool:
    """`single`: whether one call is meant unless the request says otherwise."""
    return body.parallel_tool_calls is True or (body.parallel_tool_calls is None and not single)


def _allowed(definitions: Definitions, choice: Any) -> Definitions:
    names = _named_functions(choice)
    return [tool for tool in definitions if names is None or tool["function"]["name"] in names]


def _check_choice(body: CreateChatCompletionRequest, metadata: AdapterMetadata) -> None:
    """Raises BadRequestError for a choice without definitions, and for one of an unknown function."""
    if body.functions and body.tools:
        raise BadRequestError("'functions' and 'tools' cannot be sent together.", param="functions")
    for param, choice, sender, sent_names in (
        ("tool_choice", body.tool_choice, "tools", [tool.function.name for tool in body.tools or []]),
        ("function_call", body.function_call, "functions", [function.name for function in body.functions or []]),
    ):
        if choice is None:
            continue
        # A model that was trained to call without definitions may be required to.
        trained = metadata.call_form is not None and not (body.tools or body.functions)
        if not sent_names and not trained:
            message = f"Invalid value for '{param}': '{param}' is only allowed when '{sender}' are specified."
            raise BadRequestError(message, param=param)
        names = sent_names or [tool["function"]["name"] for tool in metadata.functions]
        unknown = [name for name in _named_functions(choice) or [] if names and name not in names]
        if unknown:
            where = f"the '{sender}'" if sent_names else "the functions that this model was trained with"
            message = f"Invalid value for '{param}': the function '{unknown[0]}' is not among {where}."
            raise BadRequestError(message, param=param)


def _forced_prefix(choice: Any, form: CallForm) -> str:
    """The beginning of a call, with the function's name where `choice` names a single one."""
    names = _named_functions(choice)
    return form.opening(names[0] if names and len(names) == 1 else None)


@dataclass(frozen=True)
class CallDelta:
    """The next piece of call `index`; only the first piece has `id` and `name`."""

    index: int
    legacy: bool = False
    id: str | None = None
    name: str | None = None
    arguments: str = ""

    def delta(self) -> dict[str, Any]:
        """For a chunk: `tool_calls` or, in the legacy form, `function_call`."""
        function = {"arguments": self.arguments}
        if self.name is not None:
            function = {"name": self.name} | function
        if self.legacy:
            return {"function_call": function}
        opening = {} if self.id is None else {"id": self.id, "type": "function"}
        return {"tool_calls": [{"index": self.index, **opening, "function": function}]}


@dataclass
class GeneratedCalls:
    """The calls of a choice as they are sent: `tool_calls` or, in the legacy form, `function_call`."""

    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None

    def __bool__(self) -> bool:
        return bool(self.tool_calls or self.function_call)

    def add(self, piece: CallDelta) -> None:
        if piece.name is not None:
            self._begin(piece)
        function = self.function_call or (self.tool_calls or [])[piece.index].function
        function.arguments += piece.arguments

    def _begin(self, piece: CallDelta) -> None:
        function = FunctionCall(name=piece.name or "", arguments="")
        if piece.legacy:
            self.function_call = function
        else:
            call = ToolCall(id=piece.id or "", type="function", function=function)
            self.tool_calls = [*(self.tool_calls or []), call]


def encodable_name(name: str) -> str:
    """Replace lone surrogates, whose escapes a model may write, but which cannot be encoded in a response."""
    return name.encode("utf-8", "replace").decode()
