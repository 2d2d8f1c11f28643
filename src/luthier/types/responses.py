"""The Responses API: requests and responses of OpenAI's specification.

A parameter that this server does not support is rejected by name, unless ignoring it cannot change the answer.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.types.common import Metadata, ReasoningEffort, Request, Response
from luthier.types.response_items import Compaction, InputItem, OutputItem

MAX_INPUT_ITEMS = 2048  # of one request, and of everything that a request builds on
MAX_CONTEXT_BYTES = 16 * 1024 * 1024  # of everything that a request builds on, as stored

ResponseStatus = Literal["completed", "failed", "in_progress", "cancelled", "queued", "incomplete"]
FINAL: tuple[ResponseStatus, ...] = ("completed", "failed", "cancelled", "incomplete")
LOGPROBS = "message.output_text.logprobs"
# Those of unsupported tools have no effect, but clients send them with every request.
Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


class FunctionTool(Request):
    """A function's definition; in chat completions the same fields stand under `function`."""

    type: Literal["function"]
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    output_schema: dict[str, Any] | None = None
    allowed_callers: list[Literal["direct"]] | None = None
    runs_async: Literal[False] | None = Field(None, alias="async")
    defer_loading: Literal[False] | None = None


class ChosenFunction(Request):
    type: Literal["function"]
    name: str


class AllowedFunctions(Request):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenFunction], Field(fail_fast=True, min_length=1, max_length=128)]


ToolChoice = (
    Literal["none", "auto", "required"] | Annotated[ChosenFunction | AllowedFunctions, Field(discriminator="type")]
)


class TextFormat(Request):
    """`document` is `schema` on the wire, a name that pydantic reserves; with `json_schema` alone, like the others."""

    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")] | None = None
    document: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None
    description: str | None = None


class TextOptions(Request):
    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class ReasoningOptions(Request):
    """Summaries may be requested but are not written."""

    effort: ReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    mode: Literal["standard"] | None = None
    context: Literal["auto"] | None = None


class ConversationReference(Request):
    id: str


class PromptRequest(Request):
    """The parameters that determine a prompt: shared by responses and the counting of their tokens."""

    model: Annotated[str, Field(min_length=1)]
    input: str | Annotated[list[InputItem], Field(fail_fast=True, max_length=MAX_INPUT_ITEMS)] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationReference | None = None
    tools: Annotated[list[FunctionTool], Field(fail_fast=True, max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None

    @property
    def conversation_id(self) -> str | None:
        return self.conversation.id if isinstance(self.conversation, ConversationReference) else self.conversation


class CountTokensRequest(PromptRequest):
    personality: None = None


class StreamOptions(Request):
    include_obfuscation: bool | None = None


class BackgroundOptions(Request):
    """Work begins immediately, which satisfies every completion window."""

    completion_window: Literal["soonest", "2h", "8h"] | None = None
    continuation_id: None = None


class CreateResponseRequest(PromptRequest):
    """Defaults are OpenAI's; None: the parameter was not sent."""

    # Sampling.
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    # Output.
    include: Annotated[list[Include], Field(max_length=16)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    background: bool | None = None
    background_options: BackgroundOptions | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    # Accepted, without effect on a local answer.
    max_tool_calls: Annotated[int, Field(ge=0)] | None = None  # counts calls of built-in tools
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    prompt_cache_options: dict[str, Any] | None = None
    service_tier: str | None = None
    # Not available here.
    access_programs: None = None
    context_management: None = None
    image: None = None
    moderation: None = None
    prompt: None = None


class CompactRequest(Request):
    model: Annotated[str, Field(min_length=1)]
    input: str | Annotated[list[InputItem], Field(fail_fast=True, max_length=MAX_INPUT_ITEMS)] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    prompt_cache_options: dict[str, Any] | None = None
    service_tier: str | None = None
    image: None = None


class InputTokensDetails(Response):
    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokensDetails(Response):
    reasoning_tokens: int = 0


class ResponseUsage(Response):
    input_tokens: int
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class ResponseError(Response):
    code: Literal["server_error", "rate_limit_exceeded"]
    message: str


class IncompleteDetails(Response):
    reason: Literal["max_output_tokens", "content_filter"]


class ResponseConversation(Response):
    id: str


class ResponseObject(Response):
    """A response in any state from `queued` on; `output` has the complete items."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: ResponseStatus
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    model: str
    output: list[OutputItem] = Field(default_factory=list)
    usage: ResponseUsage | None = None
    # The request's parameters, with their defaults.
    background: bool = False
    conversation: ResponseConversation | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: dict[str, Any] = Field(default_factory=lambda: {"effort": None, "summary": None})
    safety_identifier: str | None = None
    service_tier: str = "default"
    store: bool = True
    temperature: float = 1.0
    text: dict[str, Any] = Field(default_factory=lambda: {"format": {"type": "text"}, "verbosity": "medium"})
    tool_choice: Any = "auto"
    tools: list[dict[str, Any]] = Field(default_factory=list)
    top_logprobs: int = 0
    top_p: float = 1.0
    truncation: Literal["auto", "disabled"] = "disabled"
    user: str | None = None


class ResponseEvent(Response):
    """One server-sent event; the other fields depend on `type`."""

    type: str
    sequence_number: int


class ResponseDeleted(Response):
    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class TokenCount(Response):
    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


class CompactedResponse(Response):
    """`output`: one item that stands for all items of the request."""

    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    output: list[Compaction]
    usage: ResponseUsage
