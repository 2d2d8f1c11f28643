"""Chat completions: request and response of OpenAI's specification.

The request accepts every parameter of the specification. A parameter that this server does not support is rejected by
name, unless ignoring it cannot change the answer.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from luthier.types.common import Metadata, ReasoningEffort, Request, Response

FinishReason = Literal["stop", "length", "tool_calls", "function_call", "content_filter"]
Role = Literal["developer", "system", "user", "assistant", "tool", "function"]


class TextPart(Request):
    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None


class RefusalPart(Request):
    type: Literal["refusal"]
    refusal: str


_MESSAGE_FIELDS = ("role", "refusal", "annotations")
_Part = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


class FunctionCall(Request):
    """`arguments`: JSON text."""

    name: str
    arguments: str


class ToolCall(Request):
    id: str
    type: Literal["function"]
    function: FunctionCall


class Message(Request):
    """A message of any role; the fields that a role may have are checked by the renderer."""

    role: Role
    content: str | Annotated[list[_Part], Field(fail_fast=True)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True)] | None = None
    function_call: FunctionCall | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    audio: dict[str, Any] | None = None
    annotations: list[Any] | None = None  # of an assistant message that is sent back; not rendered

    @field_validator("content", mode="before")
    @classmethod
    def _drop_message_fields(cls, content: Any, info: ValidationInfo) -> Any:
        """Drop message fields from a content part: OpenAI's Agents SDK for JavaScript sends an answer back that way."""
        if info.data.get("role") != "assistant" or not isinstance(content, list):
            return content
        return [
            {key: value for key, value in part.items() if key not in _MESSAGE_FIELDS}
            if isinstance(part, dict) and part.get("type") == "text"
            else part
            for part in content
        ]


class FunctionDefinition(Request):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Request):
    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(Request):
    name: str


class NamedTool(Request):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Request):
    """`tools` name functions only: {"type": "function", "function": {"name": ...}}."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(fail_fast=True, min_length=1, max_length=128)]


class AllowedToolsChoice(Request):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class JsonSchema(Request):
    """`document` is `schema` on the wire, a name that pydantic reserves."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    document: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(Request):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Request):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


Penalty = Annotated[float, Field(ge=-2, le=2)]


class Prediction(Request):
    """Predicted output. OpenAI uses it for speed only, so it is accepted and ignored."""

    type: Literal["content"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]


class CreateChatCompletionRequest(Request):
    """Defaults are OpenAI's; None: the parameter was not sent."""

    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1, max_length=2048)]
    model: Annotated[str, Field(min_length=1)]
    # Sampling.
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)] | None = None
    # Output.
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Tools.
    tools: Annotated[list[Tool], Field(fail_fast=True, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedToolsChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[FunctionDefinition], Field(fail_fast=True, min_length=1, max_length=128)] | None = None
    function_call: Literal["none", "auto"] | NamedFunction | None = None
    # Accepted, without effect on a local answer.
    store: bool | None = None
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    service_tier: str | None = None
    prediction: Prediction | None = None
    # Variables of the base model's chat template, such as `enable_thinking`; not part of OpenAI's API, but common to
    # other servers.
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: ReasoningEffort | None = None
    # The only supported value of each parameter; None if no value is supported.
    modalities: Annotated[list[Literal["text"]], Field(fail_fast=True)] | None = None
    verbosity: Literal["medium"] | None = None
    audio: None = None
    moderation: None = None
    web_search_options: None = None


class TopLogprob(Response):
    """`bytes`: the UTF-8 bytes of the token, possibly an incomplete character."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(Response):
    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None = None


_OPTIONAL = ("reasoning_content", "tool_calls", "function_call")  # fields of an answer that are sent if it has them


def _sent_if_present() -> Any:
    return Field(None, exclude_if=lambda value: value is None)


def _optional_calls(schema: dict[str, Any]) -> None:
    schema["required"] = [name for name in schema["required"] if name not in _OPTIONAL]


class AnswerMessage(Response):
    model_config = ConfigDict(json_schema_extra=_optional_calls)

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    reasoning_content: str | None = _sent_if_present()
    annotations: Annotated[list[Any], Field(max_length=0)] = Field(default_factory=list)
    tool_calls: list[ToolCall] | None = _sent_if_present()
    function_call: FunctionCall | None = _sent_if_present()


class Choice(Response):
    index: int
    message: AnswerMessage
    logprobs: Logprobs | None = None
    finish_reason: FinishReason


class PromptTokensDetails(Response):
    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionTokensDetails(Response):
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(Response):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class ChatCompletion(Response):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    service_tier: str = "default"
    system_fingerprint: str | None = None


class ChunkChoice(Response):
    index: int
    delta: dict[str, Any]
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Response):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    service_tier: str = "default"
    system_fingerprint: str | None = None
