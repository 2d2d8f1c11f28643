"""Answers on their way out of an engine: what chat completions and plain completions have in common."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier import __version__
from luthier.data.rendering.renderer import Renderer
from luthier.inference import Engine, Generation, Sampling, TokenStream
from luthier.server.generation.stop_and_call_parser import AnswerText
from luthier.server.generation.tool_calls import CallRules
from luthier.server.model_resolver import Target
from luthier.types import chat as types
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.common import now
from luthier.types.completions import CreateCompletionRequest
from luthier.types.errors import BadRequestError


@dataclass(kw_only=True)
class Underway:
    """`streams` holds, once started, an answer for each of `generations`; `prompt_tokens` is what usage says."""

    id: str
    target: Target
    engine: Engine
    renderer: Renderer
    generations: Sequence[Generation]
    prompt_tokens: int
    stops: Sequence[str] = ()
    calls: CallRules = field(default_factory=CallRules)
    with_tokens: bool = False  # whether log-probabilities were asked for
    created: int = field(default_factory=now)
    streams: list[TokenStream] = field(default_factory=list)
    completion_tokens: int = 0

    def start(self) -> None:
        """Raises RateLimitError with nothing left behind."""
        try:
            for generation in self.generations:
                self.streams.append(self.engine.submit(generation))
        except BaseException:
            self.cancel()
            self.streams.clear()
            raise

    def cancel(self) -> None:
        for stream in self.streams:
            stream.cancel()

    def text(self) -> AnswerText:
        return AnswerText(self.stops, calls=self.calls.form is not None, opening=self.calls.opening)

    @property
    def usage(self) -> types.Usage:
        prompt, completion = self.prompt_tokens, self.completion_tokens
        cached = self.streams[0].cached_tokens if self.streams else 0
        return types.Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=types.PromptTokensDetails(cached_tokens=cached),
        )

    @property
    def head(self) -> dict[str, Any]:
        """What an answer and each of its chunks begin with."""
        return {
            "id": self.id,
            "created": self.created,
            "model": self.target.name,
            "system_fingerprint": _fingerprint(self.target),
        }


def _fingerprint(target: Target) -> str:
    """Changes with the weights and with the program, as OpenAI's does."""
    return "fp_" + hashlib.sha256(f"{target.base} {target.adapter} {__version__}".encode()).hexdigest()[:10]


def stops(sent: str | Sequence[str] | None) -> Sequence[str]:
    return [sent] if isinstance(sent, str) else sent or []


def logit_bias(sent: Mapping[str, float] | None) -> dict[int, float]:
    """Raises BadRequestError."""
    for token in sent or {}:
        if not (token.isascii() and token.isdecimal() and len(token) < 20):
            message = f"Invalid key in 'logit_bias': {token[:40]}. Keys are token ids of this model."
            raise BadRequestError(message, param="logit_bias", code="invalid_value")
    return {int(token): bias for token, bias in (sent or {}).items()}


def sampling(
    body: CreateChatCompletionRequest | CreateCompletionRequest,
    index: int,
    tokens: int,
    stop_ids: frozenset[int],
    *,
    top_logprobs: int,
    grammar: str | None = None,
) -> Sampling:
    """How choice `index` of a request is sampled; choices differ by their seeds. Raises BadRequestError."""
    return Sampling(
        max_tokens=tokens,
        stop_ids=stop_ids,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=logit_bias(body.logit_bias),
        seed=None if body.seed is None else body.seed + index,
        top_logprobs=top_logprobs,
        grammar=grammar,
    )


def check_choices(n: int, queue_limit: int, param: str = "n") -> None:
    """More choices than the queue holds would be told to come again for ever."""
    if n > queue_limit:
        message = (
            f"Invalid '{param}': integer above maximum value. Expected a value <= {queue_limit}, but got {n} instead "
            "(the server's queue limit)."
        )
        raise BadRequestError(message, param=param, code="integer_above_max_value")
