"""Prepares a response: its items and all earlier ones become a chat for the engine, its parameters the object."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from luthier.data.rendering.renderer import Renderer
from luthier.inference import Token
from luthier.server.generation.chat_request import chat_prompt, chat_request
from luthier.server.generation.logprobs import token_logprobs
from luthier.server.generation.request import GenerationRequest
from luthier.server.model_loader import LoadedModel
from luthier.server.routes.responses.chat_body import chat_body, in_words_of_responses
from luthier.server.routes.responses.events import Logprobs, ResponseEvents
from luthier.server.routes.responses.items import ID_LENGTH, check_results, expanded, stored_items, to_messages
from luthier.server.state import State
from luthier.store import Store
from luthier.store.request_ids import resource_id
from luthier.store.response_items import Item
from luthier.types.chat import CreateChatCompletionRequest
from luthier.types.errors import BadRequestError
from luthier.types.responses import (
    CountTokensRequest,
    CreateResponseRequest,
    PromptRequest,
    ResponseConversation,
    ResponseObject,
    TextOptions,
)

_MAX_STORED_BYTES = 4 * 1024 * 1024  # of the data that a request adds to the store, besides the answer
_TOO_LONG = "context_length_exceeded"


@dataclass(frozen=True)
class PreparedResponse:
    """`sent`: the request's own items. `stored`: whether the response is kept."""

    generation: GenerationRequest
    events: ResponseEvents
    sent: list[Item]
    stored: bool


def prepare(state: State, model: LoadedModel, body: CreateResponseRequest) -> PreparedResponse:
    """Raises APIError."""
    sent = stored_items(state.store, body.input)
    items = whole_context(state.store, body, sent)
    check_results(items)
    chat = chat_body(body, to_messages(items), model.target.metadata)
    response_id = resource_id("resp_", ID_LENGTH)
    with in_words_of_responses():
        fitting = _truncated if body.truncation == "auto" else chat_request
        generation = fitting(state, model, chat, response_id)
    response = _response_object(body, generation).model_dump(mode="json")
    stored = body.store is not False
    if stored or body.conversation_id:
        check_bytes(sent, response)
    events = ResponseEvents(response, partial(_logprobs, model.renderer))
    return PreparedResponse(generation, events, sent, stored)


def count_tokens(state: State, model: LoadedModel, body: CountTokensRequest) -> int:
    """The number of tokens of the prompt for the request. Raises APIError."""
    items = whole_context(state.store, body, stored_items(state.store, body.input))
    chat = chat_body(body, to_messages(items), model.target.metadata)
    with in_words_of_responses():
        return len(chat_prompt(state, model, chat).tokens)


def whole_context(store: Store, body: PromptRequest, sent: list[Item]) -> list[Item]:
    """All earlier items, oldest first, and those of the request. Raises NotFoundError, BadRequestError."""
    if body.previous_response_id is not None and body.conversation is not None:
        message = "'previous_response_id' and 'conversation' cannot be sent together: send one of them."
        raise BadRequestError(message, param="previous_response_id", code="mutually_exclusive_parameters")
    context: list[Item] = []
    if body.previous_response_id is not None:
        context = store.responses.context(body.previous_response_id)
    elif body.conversation_id is not None:
        context = store.conversations.context(body.conversation_id)
    return expanded([*context, *sent], store.responses.compacted)


def _truncated(
    state: State, model: LoadedModel, chat: CreateChatCompletionRequest, response_id: str
) -> GenerationRequest:
    """Drop as many of the first turns as necessary to fit the context. Raises APIError if the last turn is too long."""
    messages = chat.messages
    first = next((index for index, message in enumerate(messages) if message.role not in ("system", "developer")), 0)
    # Positions where the remaining conversation may begin: at the user message of a later turn.
    starts = [index for index, message in enumerate(messages) if message.role == "user" and index > first]

    def beginning_at(start: int) -> GenerationRequest:
        shortened = [*messages[:first], *messages[start:]]
        return chat_request(state, model, chat.model_copy(update={"messages": shortened}), response_id)

    try:
        return beginning_at(first)
    except BadRequestError as error:
        if error.code != _TOO_LONG or not starts:
            raise
    fitting, low, high = beginning_at(starts[-1]), 0, len(starts) - 1
    while low < high:  # `fitting` begins at `starts[high]`; no earlier start than `starts[low]` fits
        middle = (low + high) // 2
        try:
            fitting, high = beginning_at(starts[middle]), middle
        except BadRequestError:
            low = middle + 1
    return fitting


def _response_object(body: CreateResponseRequest, generation: GenerationRequest) -> ResponseObject:
    """The response object before its first token."""
    sent = body.model_dump(mode="json", by_alias=True, exclude_none=True)
    echoed = {name: sent[name] for name in ResponseObject.model_fields if name in sent}
    conversation = ResponseConversation(id=body.conversation_id) if body.conversation_id else None
    fields = {
        "id": generation.id,
        "created_at": generation.created,
        "model": generation.model.target.name,
        "status": "queued" if body.background else "in_progress",
        "conversation": conversation,
        "service_tier": "default",
        "tools": [{"parameters": None, "strict": None, **tool} for tool in sent.get("tools", [])],
        "text": _text(body.text),
        "reasoning": {"effort": None, "summary": None} | sent.get("reasoning", {}),
    }
    return ResponseObject(**{**echoed, **fields})


def _text(text: TextOptions | None) -> dict[str, object]:
    chosen = text.format.model_dump(by_alias=True, exclude_none=True) if text and text.format else {"type": "text"}
    return {"format": chosen, "verbosity": "medium"}


def check_bytes(*added: object) -> None:
    """Raises BadRequestError if the request adds too much to the store."""
    size = len(json.dumps(added, ensure_ascii=False).encode())
    if size > _MAX_STORED_BYTES:
        message = (
            f"The request has {size:,} bytes to store; {_MAX_STORED_BYTES:,} are kept. Send it with 'store' set to "
            "false and without a conversation, or in parts."
        )
        raise BadRequestError(message, param="store", code="request_too_large")


def _logprobs(renderer: Renderer, tokens: Sequence[Token]) -> Logprobs:
    """The log-probabilities of tokens, in the API's form; empty unless they are requested."""
    return token_logprobs(tokens, renderer).model_dump()["content"] or []
