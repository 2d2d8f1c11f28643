"""Converts draft examples to lines of a training file, in either of OpenAI's forms."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.generate.functions.definitions import FunctionDefinition
from luthier.generate.functions.enumerate import Invocation

Form = Literal["tools", "functions"]
Kind = Literal["call", "no_call", "missing", "several"]


@dataclass(frozen=True)
class DraftExample:
    """An example before it has a form.

    Attributes:
        user: The user's message.
        calls: The calls of the assistant; empty if it answers with the text `answer`.
        definitions: The definitions that this example contains; None for all of them.
    """

    kind: Kind
    user: str
    calls: tuple[Invocation, ...] = ()
    answer: str = ""
    definitions: tuple[FunctionDefinition, ...] | None = None


def to_line(
    draft: DraftExample, form: Form, system: str | None, definitions: Sequence[FunctionDefinition] | None
) -> dict[str, Any]:
    """The line of a draft; `definitions` None leaves definitions out, so that the model memorizes them."""
    system_messages = [{"role": "system", "content": system}] if system else []
    messages = [*system_messages, {"role": "user", "content": draft.user}, _assistant(draft, form)]
    line: dict[str, Any] = {"messages": messages}
    if definitions is None:
        return line
    functions = [definition.to_dict() for definition in draft.definitions or definitions]
    as_tools = form == "tools"
    line[form] = [{"type": "function", "function": function} for function in functions] if as_tools else functions
    return line


def _assistant(draft: DraftExample, form: Form) -> dict[str, Any]:
    if not draft.calls:
        return {"role": "assistant", "content": draft.answer}
    calls = [
        {"name": call.definition.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
        for call in draft.calls
    ]
    if form == "functions":
        return {"role": "assistant", "content": None, "function_call": calls[0]}
    tool_calls = [{"id": f"call_{n}", "type": "function", "function": call} for n, call in enumerate(calls, 1)]
    return {"role": "assistant", "content": None, "tool_calls": tool_calls}
