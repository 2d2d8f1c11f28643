"""Evaluation cases: held-out examples as prompts with reference answers."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from luthier.data.examples.example import Example, WireForm
from luthier.data.examples.tool_definitions import DefinitionDetail, FunctionSchemas, collect_definitions, with_detail
from luthier.evaluation.tool_call_match import ExpectedCall
from luthier.language import say
from luthier.types.errors import LuthierError


@dataclass(frozen=True)
class Case:
    """A conversation up to its last assistant message, and that message as the reference answer.

    `expected_calls` and `reference`: the calls and the text of the reference answer; `tools`: the example's
    definitions, in the `tools` form; `form`: the form in which the example writes calls.
    """

    line: int
    messages: list[dict[str, Any]]
    expected_calls: list[ExpectedCall]
    reference: str | None
    tools: list[dict[str, Any]] | None
    form: WireForm | None

    def request(self, model: str, definitions: DefinitionDetail) -> dict[str, Any]:
        """The body of a request for a greedy chat completion, with full, slim or no definitions."""
        tools = with_detail(self.tools, definitions)
        body: dict[str, Any] = {"model": model, "messages": self.messages, "temperature": 0}
        if tools and self.form == "functions":
            body["functions"] = [tool["function"] for tool in tools]
        elif tools:
            body["tools"] = tools
        return body


def build_cases(examples: Iterable[Example], definitions: list[dict[str, Any]] | None = None) -> Iterator[Case]:
    """One case per example. `definitions`: for examples that have none. Raises LuthierError, with the line."""
    for example in examples:
        index = max(
            (i for i, message in enumerate(example.messages) if message.get("role") == "assistant"), default=None
        )
        if not index:
            raise LuthierError(
                say(
                    f"Line {example.line} has no question followed by an assistant's answer.",
                    f"第 {example.line} 行没有“提问加 assistant 回答”。",
                )
            )
        answer = example.messages[index]
        try:
            tools = example.tools or definitions
            form = example.call_form or ("tools" if tools else None)
            case = Case(example.line, example.messages[:index], _expected_calls(answer), _text(answer), tools, form)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LuthierError(
                say(
                    f"Line {example.line} cannot be evaluated: {type(error).__name__}: {error}. "
                    "`luthier check` shows what is wrong with it.",
                    f"第 {example.line} 行无法评估：{type(error).__name__}: {error}。请看 `luthier check`。",
                )
            ) from error
        yield case


def merge_definitions(cases: list[Case]) -> FunctionSchemas | None:
    """Every function that any of the cases defines; None if there are none."""
    tools = collect_definitions(case.tools for case in cases if case.tools)
    return FunctionSchemas(tools) if tools else None


def _expected_calls(answer: dict[str, Any]) -> list[ExpectedCall]:
    """The calls of an answer. The key `acceptable` of the message may list, for each call, the values that count as
    correct.
    """
    calls = [call["function"] for call in answer.get("tool_calls") or []]
    if answer.get("function_call"):
        calls.append(answer["function_call"])
    acceptable = answer.get("acceptable") or [None] * len(calls)
    return [
        ExpectedCall(call["name"], json.loads(call["arguments"] or "{}"), values)
        for call, values in zip(calls, acceptable, strict=True)
    ]


def _text(answer: dict[str, Any]) -> str | None:
    content = answer.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content
