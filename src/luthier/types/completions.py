"""Plain text completions, OpenAI's legacy API: request and response of the specification."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.types.chat import Penalty, StreamOptions, Usage
from luthier.types.common import Request, Response

FinishReason = Literal["stop", "length", "content_filter"]
_Tokens = Annotated[list[int], Field(fail_fast=True, min_length=1)]


class CreateCompletionRequest(Request):
    """Defaults are OpenAI's; None: the parameter was not sent. `prompt` null: the beginning of a document."""

    model: Annotated[str, Field(min_length=1)]
    prompt: (
        str
        | Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=2048)]
        | _Tokens
        | Annotated[list[_Tokens], Field(fail_fast=True, min_length=1, max_length=2048)]
        | None
    )
    # Sampling.
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    best_of: Annotated[int, Field(ge=0, le=20)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    # Output.
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Accepted by the parser, rejected by name.
    suffix: str | None = None
    # Accepted, without effect.
    user: str | None = None


class TextLogprobs(Response):
    """One entry per token. The first token of an echoed prompt has no context: its log-probability is null.

    `text_offset`: start of the token, in characters from the start of the prompt.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TextChoice(Response):
    text: str
    index: int
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason | None = None


class TextCompletion(Response):
    """The response, and each chunk of a stream (without `usage`)."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None
    system_fingerprint: str | None = None
