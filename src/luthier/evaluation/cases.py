"""From held-out examples to questions with known answers. Knows nothing about models."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from luthier.data.examples.example import CallForm, Example, call_form
from luthier.data.examples.messages import definitions as in_one_form
from luthier.data.examples.tool_definitions import Definitions, Shown, as_shown, collect
from luthier.evaluation.tool_call_match import Expected
from luthier.types.errors import LuthierError


@dataclass(frozen=True)
class Case:
    """A conversation up to its last assistant message, and that message: `wanted` calls, or `text`.

    `tools`: the definitions of the example, in today's form; `form`: how it writes calls.
    """

    line: int
    messages: list[dict[str, Any]]
    wanted: list[Expected]
    text: str | None
    tools: list[dict[str, Any]] | None
    form: CallForm | None

    def request(self, model: str, shown: Shown) -> dict[str, Any]:
        """The body of a chat completion that asks `model` for the answer, greedily, with definitions as `shown`."""
        tools = as_shown(self.tools, shown)
        body: dict[str, Any] = {"model": model, "messages": self.messages, "temperature": 0}
        if tools and self.form == "functions":
            body["functions"] = [tool["function"] for tool in tools]
        elif tools:
            body["tools"] = tools
        return body


def cases(examples: Iterable[Example], definitions: list[dict[str, Any]] | None = None) -> Iterator[Case]:
    """One case per example; `definitions` are taken where an example carries none. Raises LuthierError by line."""
    for example in examples:
        place = max(
            (i for i, message in enumerate(example.messages) if message.get("role") == "assistant"), default=None
        )
        if not place:
            raise LuthierError(f"Line {example.line} has no question with an assistant's answer after it.")
        answer = example.messages[place]
        try:
            tools = in_one_form(example.tools, example.functions) or definitions
            form = call_form(example) or ("tools" if tools else None)
            made = Case(example.line, example.messages[:place], _wanted(answer), _text(answer), tools, form)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LuthierError(
                f"Line {example.line} cannot be asked: {type(error).__name__}: {error}. "
                "`luthier check` says what is wrong with it."
            ) from error
        yield made


def known_definitions(made: list[Case]) -> Definitions | None:
    """Every function that any of the cases defines; None when none does."""
    tools = collect(Example([], case.tools, None, None, case.line) for case in made if case.tools)
    return Definitions(tools) if tools else None


def _wanted(answer: dict[str, Any]) -> list[Expected]:
    """`acceptable`, beside the calls, may list for each of them the values that count as right."""
    calls = [call["function"] for call in answer.get("tool_calls") or []]
    if answer.get("function_call"):
        calls.append(answer["function_call"])
    allowed = answer.get("acceptable") or [None] * len(calls)
    return [
        Expected(call["name"], json.loads(call["arguments"] or "{}"), values)
        for call, values in zip(calls, allowed, strict=True)
    ]


def _text(answer: dict[str, Any]) -> str | None:
    content = answer.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content
