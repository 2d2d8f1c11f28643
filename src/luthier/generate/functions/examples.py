"""Words and calls → a line of a training file, in either of OpenAI's forms.

Knows the wire and nothing about where words and calls come from.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.generate.functions.definitions import Definition
from luthier.generate.functions.enumerate import Invocation

Form = Literal["tools", "functions"]
Kind = Literal["call", "no_call", "missing", "several"]


@dataclass(frozen=True)
class Drafted:
    """An example before it is written: `calls`, or else the `answer` in words. `definitions`: None for all of them."""

    kind: Kind
    user: str
    calls: tuple[Invocation, ...] = ()
    answer: str = ""
    definitions: tuple[Definition, ...] | None = None


def to_line(
    drafted: Drafted, form: Form, system: str | None, definitions: Sequence[Definition] | None
) -> dict[str, Any]:
    """`definitions` stand in the line; None leaves them out, so that the model must learn them."""
    head = [{"role": "system", "content": system}] if system else []
    line: dict[str, Any] = {"messages": [*head, {"role": "user", "content": drafted.user}, _assistant(drafted, form)]}
    if definitions is None:
        return line
    chosen = [one.to_dict() for one in drafted.definitions or definitions]
    line[form] = [{"type": "function", "function": one} for one in chosen] if form == "tools" else chosen
    return line


def _assistant(drafted: Drafted, form: Form) -> dict[str, Any]:
    if not drafted.calls:
        return {"role": "assistant", "content": drafted.answer}
    calls = [
        {"name": call.definition.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
        for call in drafted.calls
    ]
    if form == "functions":
        return {"role": "assistant", "content": None, "function_call": calls[0]}
    tool_calls = [{"id": f"call_{n}", "type": "function", "function": call} for n, call in enumerate(calls, 1)]
    return {"role": "assistant", "content": None, "tool_calls": tool_calls}
