"""Prepares a chat for the engine: call policy, grammar, prompt tokens, sampling."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from luthier.data.rendering.renderer import Renderer
from luthier.inference import EngineRequest
from luthier.server.generation.choice_limits import check_choice_count
from luthier.server.generation.closing_tokens import closing_tokens
from luthier.server.generation.prompt_inputs import exceeds_twice_context
from luthier.server.generation.request import GenerationRequest
from luthier.server.generation.sampling_params import sampling_params, stop_sequences
from luthier.server.generation.structured_output import response_grammar
from luthier.server.generation.template_options import template_options, thinks
from luthier.server.generation.tool_calls import CallPolicy, call_policy
from luthier.server.model_loader import LoadedModel
from luthier.server.state import State
from luthier.types.chat import CreateChatCompletionRequest, Message, TextPart
from luthier.types.errors import BadRequestError

_MANY_MESSAGES = 256
_MIN_MESSAGE_TOKENS = 2
# The largest output of a hosted model. Clients send values that are valid there as an upper bound, so values up to this
# are reduced to the rest of the context if that is smaller.
_MAX_OUTPUT_TOKENS = 128_000


@dataclass(frozen=True)
class ChatPrompt:
    """A rendered chat: its token ids, and the constraints on the answer."""

    tokens: list[int]
    calls: CallPolicy
    grammar: str | None


def chat_prompt(state: State, model: LoadedModel, body: CreateChatCompletionRequest) -> ChatPrompt:
    """Render the prompt of a chat, which may be up to twice as long as the context. Raises APIError, RenderError."""
    context_tokens, renderer = model.engine.context_tokens, model.renderer
    calls = call_policy(body, model.target.metadata, strict=state.settings.strict_calls, form=renderer.call_form)
    grammar = response_grammar(body, calls)
    _check_message_count(context_tokens, len(body.messages))
    _check_text_length(context_tokens, renderer, body, calls)
    reasons = model.target.metadata.reasoning
    options = template_options(body, renderer, reasons=reasons)
    is_free = grammar is None and not calls.forced_prefix  # an answer that a grammar constrains has no reasoning
    thinking = is_free and thinks(options, reasons=reasons)
    prompt = _prompt(renderer, body, calls, context_tokens, thinking=thinking, options=options)
    reasoning: Literal["open", "possible"] = "open" if renderer.opens_reasoning(prompt) else "possible"
    calls = replace(calls, reasoning=reasoning, reasoning_marks=renderer.reasoning_marks)
    return ChatPrompt(prompt, calls, grammar)


def chat_request(
    state: State, model: LoadedModel, body: CreateChatCompletionRequest, request_id: str
) -> GenerationRequest:
    """Prepare the request `request_id` for the engine. Raises APIError, RenderError."""
    prompt = chat_prompt(state, model, body)
    context_tokens, prompt_tokens = model.engine.context_tokens, len(prompt.tokens)
    max_tokens = body.max_completion_tokens or body.max_tokens
    is_bound = max_tokens is None or max_tokens <= _MAX_OUTPUT_TOKENS
    _check_context_length(context_tokens, prompt_tokens, None if is_bound else max_tokens)
    n = body.n or 1
    check_choice_count(state, n)
    max_tokens = min(max_tokens or state.settings.default_max_tokens, context_tokens - prompt_tokens)
    samplings = sampling_params(
        body,
        n=n,
        max_tokens=max_tokens,
        stop_ids=model.renderer.stop_ids,
        vocabulary_size=model.renderer.vocabulary_size,
        top_logprobs=body.top_logprobs or 0,
        grammar=prompt.grammar,
        closing_tokens=closing_tokens(prompt.calls, max_tokens),
    )
    return GenerationRequest(
        id=request_id,
        model=model,
        engine_requests=[EngineRequest(prompt.tokens, sampling, model.target.adapter) for sampling in samplings],
        prompt_tokens=prompt_tokens,
        stop_sequences=stop_sequences(body.stop),
        calls=prompt.calls,
        keep_tokens=bool(body.logprobs),
    )


def _prompt(
    renderer: Renderer,
    body: CreateChatCompletionRequest,
    calls: CallPolicy,
    context_tokens: int,
    *,
    thinking: bool,
    options: dict[str, Any],
) -> list[int]:
    """The prompt's token ids. Raises BadRequestError, RenderError."""
    messages = [message.model_dump(exclude_none=True) for message in body.messages]
    try:
        if len(messages) > _MANY_MESSAGES:
            _check_rendered_length(renderer, renderer.replayed(messages), calls, context_tokens)
        return renderer.prompt(
            messages,
            calls.prompt_definitions,
            calls.forced_prefix,
            definitions=calls.definitions,
            thinking=thinking,
            options=options,
        )
    except (RecursionError, TypeError, UnicodeError) as error:
        # The arguments of a call are JSON in a string, whose depth and characters have not been checked before.
        message = f"The messages cannot be tokenized: {error}"
        raise BadRequestError(message, param="messages", code="invalid_value") from error


def _check_message_count(context_tokens: int, messages: int) -> None:
    """Reject more messages than the context can hold before rendering, since rendering thousands of them takes
    minutes."""
    if _MIN_MESSAGE_TOKENS * messages > context_tokens:
        _check_context_length(context_tokens, _MIN_MESSAGE_TOKENS * messages, None)


def _check_rendered_length(
    renderer: Renderer, messages: list[dict[str, Any]], calls: CallPolicy, context_tokens: int
) -> None:
    """Check the length by rendering the template once, which is cheap; the renderer's own cost is quadratic in the
    assistant messages."""
    text = renderer.template.render(messages, calls.prompt_definitions, answer_next=True)
    prompt_tokens = len(renderer.text(text)) - 1  # the tokenizer may add a special token before plain text
    if prompt_tokens > context_tokens:
        _check_context_length(context_tokens, prompt_tokens, None)


def _check_text_length(
    context_tokens: int, renderer: Renderer, body: CreateChatCompletionRequest, calls: CallPolicy
) -> None:
    texts = [text for message in body.messages for text in _texts(message)]
    if calls.prompt_definitions:
        texts.append(json.dumps(calls.prompt_definitions, ensure_ascii=False))
    if exceeds_twice_context("\n".join(texts), renderer, context_tokens):
        message = (
            f"This model's maximum context length is {context_tokens} tokens. However, your messages resulted in more "
            f"than {2 * context_tokens} tokens. Please reduce the length of the messages."
        )
        raise BadRequestError(message, param="messages", code="context_length_exceeded")


def _texts(message: Message) -> Iterator[str]:
    """All text of a message that a chat template may render."""
    if isinstance(message.content, list):
        yield from (part.text if isinstance(part, TextPart) else part.refusal for part in message.content)
    elif message.content:
        yield message.content
    calls = [call.function for call in message.tool_calls or []]
    for call in [*calls, message.function_call] if message.function_call else calls:
        yield call.arguments


def _check_context_length(context_tokens: int, prompt_tokens: int, max_tokens: int | None) -> None:
    """Raises BadRequestError if the prompt and `max_tokens`, at least one token, exceed the context."""
    if prompt_tokens + (max_tokens or 1) <= context_tokens:
        return
    message = f"This model's maximum context length is {context_tokens} tokens. However, "
    if max_tokens is None:
        message += f"your messages resulted in {prompt_tokens} tokens. Please reduce the length of the messages."
    else:
        message += (
            f"you requested {prompt_tokens + max_tokens} tokens ({prompt_tokens} in the messages, {max_tokens} in the "
            "completion). Please reduce the length of the messages or completion."
        )
    raise BadRequestError(message, param="messages", code="context_length_exceeded")
