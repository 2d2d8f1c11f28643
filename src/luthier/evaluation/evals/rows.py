"""Rows of a data source: an item and, if there is one, the answer to be graded.

An answer is in the form in which graders see it (`Sample.of`); the row also has the form in which the API shows it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data.examples.json_schema import violations
from luthier.evaluation.graders import Sample
from luthier.types.evals import ModelUsage, OutputSample, SampleMessage, SampleUsage
from luthier.types.stored import StoredCompletion, StoredMessage


@dataclass(frozen=True)
class Row:
    """One row. `answer` is graded and `sample` is shown by the API; both are None for an item without an answer."""

    item: dict[str, Any]
    answer: dict[str, Any] | None = None
    sample: OutputSample | None = None


def row_of(item: dict[str, Any], answer: dict[str, Any] | None) -> Row:
    """The row of an item in a file or in a request."""
    return Row(item, answer, None if answer is None else _sample_of_answer(answer))


def row_of_completion(completion: StoredCompletion, messages: Sequence[StoredMessage]) -> Row:
    """The row of a stored completion; `item.input` has the messages of its request."""
    input_items = [_chat_message(message) for message in messages]
    answer = chat_answer(completion.model_dump(exclude_none=True))
    parameters = {"temperature": completion.temperature, "top_p": completion.top_p, "seed": completion.seed}
    return Row({"input": input_items}, answer, chat_sample(input_items, completion.model_dump(), parameters))


def row_of_response(response: Mapping[str, Any], input_items: list[dict[str, Any]]) -> Row:
    """The row of a stored response; `item.input` has its instructions as a message, then `input_items`."""
    if response.get("instructions"):
        input_items = [{"role": "system", "content": response["instructions"]}, *input_items]
    return Row({"input": input_items}, response_answer(response), response_sample(input_items, response, response))


def item_problem(schema: dict[str, Any], item: dict[str, Any]) -> str | None:
    """How an item violates the schema of its eval, as a sentence; None if it does not."""
    violation = next(violations(schema, item), None)
    if violation is None:
        return None
    path = f"item.{violation.path}" if violation.path else "item"
    if violation.code == "argument_missing":
        return f"'{path}' is missing"
    if violation.code == "argument_unknown":
        return f"'{path}' is not in the schema, which has {violation.expected or 'no fields'}"
    return f"'{path}' does not match the schema: expected {violation.expected}"


def chat_answer(completion: Mapping[str, Any]) -> dict[str, Any]:
    """The variables for graders, from a chat completion."""
    sample = Sample.of({"choices": completion["choices"]})
    return {"output_text": sample.text, "output_tools": sample.tools, "choices": completion["choices"]}


def response_answer(response: Mapping[str, Any]) -> dict[str, Any]:
    """The same variables, from a response."""
    tools = [_tool_call(item) for item in response["output"] if item["type"] == "function_call"]
    text = "".join(_text(item) for item in response["output"] if item["type"] == "message")
    message: dict[str, Any] = {"role": "assistant", "content": text} | ({"tool_calls": tools} if tools else {})
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(response, tools)}
    return {"output_text": text, "output_tools": tools, "choices": [choice]}


def chat_sample(
    input_messages: Iterable[dict[str, Any]], completion: Mapping[str, Any], parameters: Mapping[str, Any]
) -> OutputSample:
    """The form in which the API shows a chat completion; `parameters`: those of its request."""
    choice = completion["choices"][0]
    return _sample(input_messages, [choice["message"]], choice.get("finish_reason") or "stop", completion, parameters)


def response_sample(
    input_messages: Iterable[dict[str, Any]], response: Mapping[str, Any], parameters: Mapping[str, Any]
) -> OutputSample:
    """The form in which the API shows a response; `parameters`: those of its request."""
    [choice] = response_answer(response)["choices"]
    return _sample(input_messages, [choice["message"]], choice["finish_reason"], response, parameters)


def usage_of(sample: OutputSample) -> ModelUsage:
    return ModelUsage(model_name=sample.model, invocation_count=1, **sample.usage.model_dump())


def shown_message(message: Mapping[str, Any]) -> SampleMessage:
    """The form in which the API shows a chat message or a response's item."""
    if message.get("type") == "function_call":
        return SampleMessage(role="assistant", content="", tool_calls=[_tool_call(message)])
    if message.get("type") == "function_call_output":
        return SampleMessage(role="tool", content=_text(message, "output"), tool_call_id=message.get("call_id"))
    calls = {name: message.get(name) for name in ("tool_call_id", "tool_calls", "function_call")}
    return SampleMessage(role=str(message.get("role", "assistant")), content=_text(message), **calls)


def _sample_of_answer(answer: dict[str, Any]) -> OutputSample:
    """The form in which the API shows an answer in a file, which may have any fields."""
    sample = Sample.of(answer)
    model = answer.get("model")
    message = {"role": "assistant", "content": sample.text, "tool_calls": sample.tools or None}
    return _sample([], [message], "stop", {"model": model if isinstance(model, str) else ""}, {})


def _sample(
    input_messages: Iterable[Mapping[str, Any]],
    output: Iterable[Mapping[str, Any]],
    finish_reason: str,
    reply: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> OutputSample:
    max_tokens = parameters.get("max_completion_tokens") or parameters.get("max_output_tokens") or 0
    numbers = {name: parameters[name] for name in ("temperature", "top_p", "seed") if parameters.get(name) is not None}
    return OutputSample(
        input=[shown_message(message) for message in input_messages],
        output=[shown_message(message) for message in output],
        finish_reason=finish_reason,
        model=reply["model"],
        usage=_usage(reply.get("usage") or {}),
        max_completion_tokens=max_tokens,
        **numbers,
    )


def _usage(usage: Mapping[str, Any]) -> SampleUsage:
    """The usage of a chat completion or of a response."""
    input_kind, output_kind = ("input", "output") if "input_tokens" in usage else ("prompt", "completion")
    details = usage.get(f"{input_kind}_tokens_details") or {}
    prompt_tokens, completion_tokens = usage.get(f"{input_kind}_tokens") or 0, usage.get(f"{output_kind}_tokens") or 0
    return SampleUsage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        cached_tokens=details.get("cached_tokens") or 0,
    )


def _chat_message(message: StoredMessage) -> dict[str, Any]:
    """The message as it was sent."""
    fields = message.model_dump(exclude_none=True, exclude={"id"})
    if "content_parts" in fields:
        fields["content"] = fields.pop("content_parts")
    return fields


def _tool_call(item: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _finish_reason(response: Mapping[str, Any], tools: list[dict[str, Any]]) -> str:
    if response.get("status") == "incomplete":
        return "length"
    return "tool_calls" if tools else "stop"


def _text(message: Mapping[str, Any], field: str = "content") -> str:
    """The text of a field: a string, or the joined texts of its parts."""
    content = message.get(field)
    if isinstance(content, list):
        parts = (part for part in content if isinstance(part, dict))
        return "".join(str(part.get("text") or part.get("refusal") or "") for part in parts)
    return content if isinstance(content, str) else ""
