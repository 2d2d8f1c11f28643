"""Function calls, in both of OpenAI's forms: what a request asks for, and calls as they are sent.

`tools` are today's form, `functions` the older one that fine-tuned models may still have been taught.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.data import messages as wire
from luthier.types.chat import CreateChatCompletionRequest, FunctionCall, NamedTool, ToolCall
from luthier.types.common import new_id
from luthier.types.errors import BadRequestError

CallForm = Literal["tools", "functions"]


@dataclass(frozen=True)
class CallRules:
    """`opening`: what the answer must begin with; `form`: how calls are sent, None when none are looked for;
    `definitions`: what the model is told of, in today's form.
    """

    opening: str = ""
    form: CallForm | None = None
    parallel: bool = True
    definitions: list[dict[str, Any]] | None = None


def call_rules(body: CreateChatCompletionRequest, taught: str | None) -> CallRules:
    """By the request, else by `taught`: how the data of a fine-tuned model called. Raises BadRequestError."""
    _check(body, taught)
    choice = body.tool_choice if body.tool_choice is not None else body.function_call
    if choice == "none":
        return CallRules()
    form: CallForm = "functions" if body.functions or (taught == "functions" and not body.tools) else "tools"
    tools = [tool.model_dump(exclude_none=True) for tool in body.tools or []]
    functions = [function.model_dump(exclude_none=True) for function in body.functions or []]
    return CallRules(
        _opening(choice),
        form if tools or functions or taught else None,
        body.parallel_tool_calls is not False,
        wire.definitions(tools, functions),
    )


def _check(body: CreateChatCompletionRequest, taught: str | None) -> None:
    if body.functions and body.tools:
        raise BadRequestError("'functions' and 'tools' cannot be sent together.", param="functions")
    for param, choice, of, sent in (
        ("tool_choice", body.tool_choice, "tools", [tool.function.name for tool in body.tools or []]),
        ("function_call", body.function_call, "functions", [function.name for function in body.functions or []]),
    ):
        if choice is None:
            continue
        # A model that was taught to call without definitions may be asked to.
        if not sent and not (taught and not (body.tools or body.functions)):
            message = f"Invalid value for '{param}': '{param}' is only allowed when '{of}' are specified."
            raise BadRequestError(message, param=param)
        if not isinstance(choice, str) and sent and _name(choice) not in sent:
            message = f"Invalid value for '{param}': the function '{_name(choice)}' is not among the '{of}'."
            raise BadRequestError(message, param=param)


def _name(choice: Any) -> str:
    name: str = choice.function.name if isinstance(choice, NamedTool) else choice.name
    return name


def _opening(choice: Any) -> str:
    if choice in (None, "auto"):
        return ""
    if choice == "required":
        return '<tool_call>\n{"name":'
    return f'<tool_call>\n{{"name": {json.dumps(_name(choice), ensure_ascii=False)}, "arguments":'


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
