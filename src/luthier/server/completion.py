"""A chat request made ready: weights, prompt ids, sampling. Knows nothing about how the answer is sent."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier import __version__
from luthier.data.render import Renderer
from luthier.inference import Engine, Generation, Sampling, TokenStream
from luthier.server.answers import AnswerText
from luthier.server.calls import CallRules, call_rules
from luthier.server.names import Target
from luthier.server.state import State, renderer
from luthier.types import chat as types
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.common import new_id, now
from luthier.types.errors import BadRequestError


@dataclass
class Completion:
    """One request on its way: `streams` holds an answer under way for each of `n` choices."""

    body: CreateChatCompletionRequest
    target: Target
    engine: Engine
    renderer: Renderer
    prompt: list[int]
    calls: CallRules
    samplings: list[Sampling]
    id: str = field(default_factory=lambda: new_id("chatcmpl-", 29))
    created: int = field(default_factory=now)
    streams: list[TokenStream] = field(default_factory=list)
    completion_tokens: int = 0

    def start(self) -> None:
        """Raises RateLimitError with nothing left behind."""
        try:
            for sampling in self.samplings:
                self.streams.append(self.engine.submit(Generation(self.prompt, sampling, self.target.adapter)))
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        for stream in self.streams:
            stream.cancel()

    def text(self) -> AnswerText:
        stops = [self.body.stop] if isinstance(self.body.stop, str) else self.body.stop or []
        return AnswerText(stops, calls=self.calls.form is not None, opening=self.calls.opening)

    @property
    def usage(self) -> types.Usage:
        prompt, completion = len(self.prompt), self.completion_tokens
        return types.Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)

    @property
    def head(self) -> dict[str, Any]:
        """What a completion and each of its chunks begin with."""
        return {
            "id": self.id,
            "created": self.created,
            "model": self.target.name,
            "system_fingerprint": _fingerprint(self.target),
        }


def prepare(state: State, base: Path, target: Target, body: CreateChatCompletionRequest) -> Completion:
    """Everything up to the first token that may take time: weights, rendering. Raises APIError, RenderError."""
    rendering = renderer(base, target.adapter)
    calls = call_rules(body, target.call_form)
    engine = state.engines.engine(base)
    _check_messages(engine.context_tokens, len(body.messages))
    prompt = _prompt(rendering, body, calls)
    room = engine.context_tokens - len(prompt)
    most = body.max_completion_tokens or body.max_tokens
    _check_room(engine.context_tokens, len(prompt), most)
    _check_choices(body.n or 1, state.settings.queue_limit)
    samplings = [
        _sampling(body, index, min(most or state.settings.answer_tokens, room), rendering.stop_ids)
        for index in range(body.n or 1)
    ]
    return Completion(body, target, engine, rendering, prompt, calls, samplings)


def _prompt(rendering: Renderer, body: CreateChatCompletionRequest, calls: CallRules) -> list[int]:
    messages = [message.model_dump(exclude_none=True) for message in body.messages]
    try:
        return rendering.prompt(messages, calls.definitions, calls.opening)
    except (RecursionError, TypeError, UnicodeError) as error:
        # The arguments of a call are JSON in a string: its depth and its characters show only here.
        message = f"The messages cannot be turned into tokens: {error}"
        raise BadRequestError(message, param="messages", code="invalid_value") from error


def _check_messages(context: int, messages: int) -> None:
    """A message takes two tokens at the least; rendering thousands of them only to refuse them takes minutes."""
    if 2 * messages > context:
        _check_room(context, 2 * messages, None)


def _check_room(context: int, prompt: int, most: int | None) -> None:
    if prompt + (most or 1) <= context:
        return
    message = f"This model's maximum context length is {context} tokens. However, "
    if most is None:
        message += f"your messages resulted in {prompt} tokens. Please reduce the length of the messages."
    else:
        message += (
            f"you requested {prompt + most} tokens ({prompt} in the messages, {most} in the completion). "
            "Please reduce the length of the messages or completion."
        )
    raise BadRequestError(message, param="messages", code="context_length_exceeded")


def _check_choices(n: int, queue_limit: int) -> None:
    """More choices than the queue holds would be told to come again for ever."""
    if n > queue_limit:
        message = (
            f"Invalid 'n': integer above maximum value. Expected a value <= {queue_limit}, but got {n} instead "
            "(the server's queue limit)."
        )
        raise BadRequestError(message, param="n", code="integer_above_max_value")


def _sampling(body: CreateChatCompletionRequest, index: int, tokens: int, stop_ids: frozenset[int]) -> Sampling:
    """Choices of one request differ by their seeds."""
    return Sampling(
        max_tokens=tokens,
        stop_ids=stop_ids,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=_logit_bias(body.logit_bias or {}),
        seed=None if body.seed is None else body.seed + index,
        top_logprobs=body.top_logprobs or 0,
    )


def _logit_bias(asked: dict[str, float]) -> dict[int, float]:
    for token in asked:
        if not (token.isascii() and token.isdecimal() and len(token) < 20):
            message = f"Invalid key in 'logit_bias': {token[:40]}. Keys are token ids of this model."
            raise BadRequestError(message, param="logit_bias", code="invalid_value")
    return {int(token): bias for token, bias in asked.items()}


def _fingerprint(target: Target) -> str:
    """Changes with the weights and with the program, as OpenAI's does."""
    return "fp_" + hashlib.sha256(f"{target.base} {target.adapter} {__version__}".encode()).hexdigest()[:10]
