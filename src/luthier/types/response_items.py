"""Items of the Responses API and of conversations: those that a client may send, and those that a model writes.

All items that occur with text and function calls are accepted. Any other type is rejected by name.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from luthier.types.common import Request, Response

ItemStatus = Literal["in_progress", "completed", "incomplete"]
_Ignored = Any  # of an item that is sent back as another service answered it


class InputText(Request):
    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None


class SentOutputText(Request):
    """Text of an earlier answer that is sent back."""

    type: Literal["output_text"]
    text: str
    annotations: list[_Ignored] | None = None
    logprobs: list[_Ignored] | None = None
    parsed: _Ignored = None


class SentRefusal(Request):
    type: Literal["refusal"]
    refusal: str


MessagePart = Annotated[InputText | SentOutputText | SentRefusal, Field(discriminator="type")]


class InputMessage(Request):
    """A message with or without its type, and with its content as text or in parts."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Annotated[list[MessagePart], Field(fail_fast=True)]
    id: str | None = None
    status: ItemStatus | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class InputCall(Request):
    """`arguments`: JSON text."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: ItemStatus | None = None
    caller: _Ignored = None
    namespace: None = None
    created_by: _Ignored = None
    runs_async: Literal[False] | None = Field(None, alias="async")


class InputCallOutput(Request):
    type: Literal["function_call_output"]
    call_id: str
    output: str | Annotated[list[InputText], Field(fail_fast=True)]
    id: str | None = None
    status: ItemStatus | None = None
    caller: _Ignored = None
    name: _Ignored = None
    namespace: None = None
    created_by: _Ignored = None


class InputReasoning(Request):
    """Accepted but not rendered: no model here is trained on the reasoning of earlier turns."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[_Ignored] | None = None
    content: list[_Ignored] | None = None
    encrypted_content: str | None = None
    status: ItemStatus | None = None


class ItemReference(Request):
    type: Literal["item_reference"] = "item_reference"
    id: str


class InputCompaction(Request):
    """`encrypted_content`: the token of `POST /v1/responses/compact`, which stands for the items sent there."""

    type: Literal["compaction"]
    encrypted_content: str
    id: str | None = None
    created_by: _Ignored = None


def _with_type(item: Any) -> Any:
    """Add the type to messages and references, which may be sent without it."""
    if not isinstance(item, dict) or item.get("type") is not None:
        return item
    if "role" in item:
        return {**item, "type": "message"}
    return {**item, "type": "item_reference"} if "id" in item else item


AnyInputItem = InputMessage | InputCall | InputCallOutput | InputReasoning | ItemReference | InputCompaction
InputItem = Annotated[
    Annotated[AnyInputItem, Field(discriminator="type")],
    BeforeValidator(_with_type, json_schema_input_type=AnyInputItem),
]


class TopTokenLogprob(Response):
    token: str
    logprob: float
    bytes: list[int]


class OutputTokenLogprob(TopTokenLogprob):
    top_logprobs: list[TopTokenLogprob]


class OutputText(Response):
    type: Literal["output_text"] = "output_text"
    text: str
    annotations: Annotated[list[Any], Field(max_length=0)] = Field(default_factory=list)
    logprobs: list[OutputTokenLogprob] = Field(default_factory=list)


class ReasoningText(Response):
    type: Literal["reasoning_text"] = "reasoning_text"
    text: str


class OutputMessage(Response):
    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: ItemStatus
    content: list[OutputText]


class OutputCall(Response):
    id: str
    type: Literal["function_call"] = "function_call"
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class OutputReasoning(Response):
    id: str
    type: Literal["reasoning"] = "reasoning"
    status: ItemStatus
    summary: Annotated[list[Any], Field(max_length=0)] = Field(default_factory=list)
    content: list[ReasoningText]


class Compaction(Response):
    id: str
    type: Literal["compaction"] = "compaction"
    encrypted_content: str


OutputItem = Annotated[OutputMessage | OutputCall | OutputReasoning, Field(discriminator="type")]
