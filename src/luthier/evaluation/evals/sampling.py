"""Sampling for an eval: builds the request for an item, and reads the answer from the response."""

from dataclasses import dataclass
from typing import Any

from luthier.evaluation.evals.rows import Row, chat_answer, chat_sample, response_answer, response_sample, shown_message
from luthier.evaluation.graders import Sample
from luthier.evaluation.graders.failures import other_failure
from luthier.evaluation.graders.model_graders import message_text
from luthier.evaluation.graders.templates import look_up
from luthier.types.eval_sources import CompletionsDataSource, MessageTemplate, SampledDataSource
from luthier.types.evals import EvalError, OutputSample

_SEED = 42  # OpenAI's default
_NO_SAMPLE = Sample("", fields={})  # templates in a prompt can only refer to the item
_CHAT, _RESPONSES = "/v1/chat/completions", "/v1/responses"


@dataclass(frozen=True)
class SampleRequest:
    """A request to the sampled model. `messages`: the messages in its body."""

    path: str
    body: dict[str, Any]
    messages: list[dict[str, Any]]

    def row(self, item: dict[str, Any], reply: dict[str, Any]) -> Row:
        """The item with the answer in the response `reply`."""
        if self.path == _CHAT:
            return Row(item, chat_answer(reply), chat_sample(self.messages, reply, self.body))
        return Row(item, response_answer(reply), response_sample(self.messages, reply, self.body))

    def failed_sample(self, error: EvalError) -> OutputSample:
        """The sample that the API shows for an item that the model did not answer."""
        messages = [shown_message(message) for message in self.messages]
        return OutputSample(input=messages, finish_reason="error", model=self.body["model"], error=error)


def sample_request(data_source: SampledDataSource, item: dict[str, Any]) -> SampleRequest:
    """The request for an item. Raises GraderFailure if the item lacks a variable that the messages use."""
    messages = _messages(data_source, item)
    sampling = data_source.sampling_params
    body: dict[str, Any] = {"model": data_source.model}
    if sampling is not None:
        body |= sampling.model_dump(include={"temperature", "top_p", "tools"}, by_alias=True, exclude_none=True)
    if isinstance(data_source, CompletionsDataSource):
        completions = data_source.sampling_params
        body |= {"messages": messages, "seed": _SEED}
        if completions is not None:
            chat = completions.model_dump(
                include={"seed", "response_format", "reasoning_effort"}, by_alias=True, exclude_none=True
            )
            body |= chat | ({"max_completion_tokens": completions.max_tokens} if completions.max_tokens else {})
        return SampleRequest(_CHAT, body, messages)
    responses = data_source.sampling_params
    body |= {"input": messages, "store": False}
    if responses is not None:
        body |= responses.model_dump(include={"text"}, by_alias=True, exclude_none=True)
        body |= {"max_output_tokens": responses.max_tokens} if responses.max_tokens else {}
        body |= {"reasoning": {"effort": responses.reasoning_effort}} if responses.reasoning_effort else {}
    return SampleRequest(_RESPONSES, body, messages)


def _messages(data_source: SampledDataSource, item: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages for an item: the filled template, or the item's field that the data source names (`item.input` by
    default, for stored completions and responses).
    """
    source = data_source.input_messages
    if isinstance(source, MessageTemplate):
        return [
            {"role": message.role, "content": message_text(message, _NO_SAMPLE, item)} for message in source.template
        ]
    path = source.item_reference if source else "item.input"
    messages = look_up(path, _NO_SAMPLE, item)
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise other_failure(f"'{path}' must be a list of messages or a string")
    return messages
