"""Function calls, in both of OpenAI's forms: what a request asks for, and calls as they are sent.

`tools` are today's form, `functions` the older one that fine-tuned models may still have been taught.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.data.examples import messages as wire
from luthier.data.examples.adapter_metadata import Taught
from luthier.types.chat import AllowedToolsChoice, CreateChatCompletionRequest, FunctionCall, NamedTool, ToolCall
from luthier.types.common import new_id
from luthier.types.errors import BadRequestError

CallForm = Literal["tools", "functions"]
StrictCalls = Literal["taught", "all", "off"]


@dataclass(frozen=True)
class CallRules:
    """`form`: how calls are sent, None when none are looked for; `definitions`: what the model is told of, in today's
    form; `held_to`: the only calls that it can make, None for whatever it writes; `asked`: the request wants it so,
    and a schema that nothing can be held to is its error; `required`: it has to make one; `opening`: what the answer
    must begin with where one is required and nothing is known of the functions.
    """

    form: CallForm | None = None
    parallel: bool = True
    definitions: list[dict[str, Any]] | None = None
    held_to: list[dict[str, Any]] | None = None
    asked: bool = False
    known: list[dict[str, Any]] | None = None
    required: bool = False
    opening: str = ""


def call_rules(body: CreateChatCompletionRequest, taught: Taught, *, strict: StrictCalls = "off") -> CallRules:
    """By the request, else by what a fine-tuned model was `taught`; `strict`: the setting `strict_calls`.

    Raises BadRequestError.
    """
    _check(body, taught)
    choice = body.tool_choice if body.tool_choice is not None else body.function_call
    if choice == "none":
        return CallRules()
    legacy = bool(body.functions) or (taught.call_form == "functions" and not body.tools)
    tools = [tool.model_dump(exclude_none=True) for tool in body.tools or []]
    functions = [function.model_dump(exclude_none=True) for function in body.functions or []]
    sent = wire.definitions(tools, functions)
    known = sent or taught.definitions or None
    required = choice == "required" or _chosen(choice) is not None
    required = choice.allowed_tools.mode == "required" if isinstance(choice, AllowedToolsChoice) else required
    asked = required or any(tool["function"].get("strict") for tool in sent or [])
    asked = asked or isinstance(choice, AllowedToolsChoice)
    held = asked or strict == "all" or (strict == "taught" and bool(taught.definitions))
    return CallRules(
        form=("functions" if legacy else "tools") if sent or taught.call_form else None,
        parallel=body.parallel_tool_calls is not False and not legacy,
        definitions=sent,
        held_to=_among(known, choice) if held and known else None,
        asked=asked,
        known=known,
        required=required,
        opening=_opening(choice) if required and not known else "",
    )


def _chosen(choice: Any) -> list[str] | None:
    """The names that a choice allows; None when it names none."""
    if isinstance(choice, AllowedToolsChoice):
        return [tool.function.name for tool in choice.allowed_tools.tools]
    if choice is None or isinstance(choice, str):
        return None
    return [choice.function.name if isinstance(choice, NamedTool) else choice.name]


def _among(known: list[dict[str, Any]], choice: Any) -> list[dict[str, Any]]:
    names = _chosen(choice)
    return [tool for tool in known if names is None or tool["function"]["name"] in names]


def _check(body: CreateChatCompletionRequest, taught: Taught) -> None:
    if body.functions and body.tools:
        raise BadRequestError("'functions' and 'tools' cannot be sent together.", param="functions")
    for param, choice, of, sent in (
        ("tool_choice", body.tool_choice, "tools", [tool.function.name for tool in body.tools or []]),
        ("function_call", body.function_call, "functions", [function.name for function in body.functions or []]),
    ):
        if choice is None:
            continue
        # A model that was taught to call without definitions may be asked to.
        by_heart = taught.call_form is not None and not (body.tools or body.functions)
        if not sent and not by_heart:
            message = f"Invalid value for '{param}': '{param}' is only allowed when '{of}' are specified."
            raise BadRequestError(message, param=param)
        known = sent or [tool["function"]["name"] for tool in taught.definitions]
        unknown = [name for name in _chosen(choice) or [] if known and name not in known]
        if unknown:
            where = f"the '{of}'" if sent else "the functions that this model was trained with"
            message = f"Invalid value for '{param}': the function '{unknown[0]}' is not among {where}."
            raise BadRequestError(message, param=param)


def _opening(choice: Any) -> str:
    names = _chosen(choice)
    if names is None or len(names) > 1:
        return '<tool_call>\n{"name":'
    return f'<tool_call>\n{{"name": {json.dumps(names[0], ensure_ascii=False)}, "arguments":'


@dataclass(frozen=True)
class Called:
    """`tool_calls` or `function_call`, whichever the form has; the other is None."""

    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None

    def deltas(self) -> list[dict[str, Any]]:
        """Streamed: each call opens with its name and empty arguments; the arguments follow."""
        if self.function_call:
            name, arguments = self.function_call.name, self.function_call.arguments
            return [{"function_call": {"name": name, "arguments": ""}}, {"function_call": {"arguments": arguments}}]
        made: list[dict[str, Any]] = []
        for index, call in enumerate(self.tool_calls or []):
            opening = call.model_dump() | {"function": {"name": call.function.name, "arguments": ""}}
            made.append({"tool_calls": [{"index": index, **opening}]})
            made.append({"tool_calls": [{"index": index, "function": {"arguments": call.function.arguments}}]})
        return made


def calls_as_sent(calls: Sequence[wire.Call], rules: CallRules) -> Called:
    """The legacy form has one call; so have answers that were asked for without parallel calls."""
    sent = [FunctionCall(name=_text(call.name), arguments=_escaped(call.arguments)) for call in calls]
    if rules.form == "functions":
        return Called(function_call=sent[0])
    chosen = sent if rules.parallel else sent[:1]
    return Called([ToolCall(id=new_id("call_"), type="function", function=call) for call in chosen])


def _text(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _escaped(arguments: str) -> str:
    """A model may write half a character as an escape; in JSON text it can be sent as that escape only."""
    return "".join(f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char for char in arguments)
