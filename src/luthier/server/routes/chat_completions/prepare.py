"""A chat request made ready: weights, prompt ids, sampling. Knows nothing about how the answer is sent."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data.examples import messages as wire
from luthier.data.rendering.renderer import Renderer
from luthier.inference import Engine, Generation
from luthier.server.generation.prompt_inputs import far_too_long
from luthier.server.generation.request import Underway, check_choices, sampling, stops
from luthier.server.generation.structured_output import grammar_for
from luthier.server.generation.tool_calls import CallRules, call_rules
from luthier.server.model_resolver import Target
from luthier.server.state import State, renderer
from luthier.types.chat import CreateChatCompletionRequest, Message, TextPart
from luthier.types.common import new_id
from luthier.types.errors import BadRequestError

_MANY_MESSAGES = 256


@dataclass(kw_only=True)
class Completion(Underway):
    """One request on its way, with a generation for each of its `n` choices."""

    body: CreateChatCompletionRequest


def prepare(state: State, base: Path, engine: Engine, target: Target, body: CreateChatCompletionRequest) -> Completion:
    """Everything up to the first token that may take time: rendering, say. Raises APIError, RenderError."""
    rendering = renderer(base, target.adapter)
    calls = call_rules(body, target.taught, strict=state.settings.strict_calls)
    grammar = grammar_for(body, calls)
    _check_messages(engine.context_tokens, len(body.messages))
    _check_texts(engine.context_tokens, rendering, body, calls)
    prompt = _prompt(rendering, body, calls, engine.context_tokens)
    room = engine.context_tokens - len(prompt)
    most = body.max_completion_tokens or body.max_tokens
    _check_room(engine.context_tokens, len(prompt), most)
    check_choices(body.n or 1, state.settings.queue_limit)
    samplings = [
        sampling(
            body,
            index,
            min(most or state.settings.default_max_tokens, room),
            rendering.stop_ids,
            top_logprobs=body.top_logprobs or 0,
            grammar=grammar,
        )
        for index in range(body.n or 1)
    ]
    return Completion(
        id=new_id("chatcmpl-", 29),
        body=body,
        target=target,
        engine=engine,
        renderer=rendering,
        generations=[Generation(prompt, one, target.adapter) for one in samplings],
        prompt_tokens=len(prompt),
        stops=stops(body.stop),
        calls=calls,
        with_tokens=bool(body.logprobs),
    )


def _prompt(rendering: Renderer, body: CreateChatCompletionRequest, calls: CallRules, context: int) -> list[int]:
    messages = [message.model_dump(exclude_none=True) for message in body.messages]
    try:
        if len(messages) > _MANY_MESSAGES:
            _check_whole(rendering, wire.canonical(messages), calls, context)
        return rendering.prompt(messages, calls.definitions, calls.opening)
    except (RecursionError, TypeError, UnicodeError) as error:
        # The arguments of a call are JSON in a string: its depth and its characters show only here.
        message = f"The messages cannot be turned into tokens: {error}"
        raise BadRequestError(message, param="messages", code="invalid_value") from error


def _check_messages(context: int, messages: int) -> None:
    """A message takes two tokens at the least; rendering thousands of them only to refuse them takes minutes."""
    if 2 * messages > context:
        _check_room(context, 2 * messages, None)


def _check_whole(rendering: Renderer, messages: list[dict[str, Any]], calls: CallRules, context: int) -> None:
    """Rendered at one go, which costs little: the prompt is cut at each answer, at the cost of their square."""
    whole = rendering.template.render(messages, calls.definitions, answer_next=True)
    most = len(rendering.text(whole)) - 1  # text may get a special token before it
    if most > context:
        _check_room(context, most, None)


def _check_texts(context: int, rendering: Renderer, body: CreateChatCompletionRequest, calls: CallRules) -> None:
    texts = [text for message in body.messages for text in _texts(message)]
    if calls.definitions:
        texts.append(json.dumps(calls.definitions, ensure_ascii=False))
    if far_too_long("\n".join(texts), rendering, context):
        message = (
            f"This model's maximum context length is {context} tokens. However, your messages resulted in more than "
            f"{2 * context} tokens. Please reduce the length of the messages."
        )
        raise BadRequestError(message, param="messages", code="context_length_exceeded")


def _texts(message: Message) -> Iterator[str]:
    """All of a message that a model reads, whatever a template makes of it."""
    if isinstance(message.content, list):
        yield from (part.text if isinstance(part, TextPart) else part.refusal for part in message.content)
    elif message.content:
        yield message.content
    calls = [call.function for call in message.tool_calls or []]
    for call in [*calls, message.function_call] if message.function_call else calls:
        yield call.arguments


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
