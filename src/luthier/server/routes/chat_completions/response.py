"""What a client gets: one object, or chunks as server-sent events. Both are put together from the same parts."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from luthier.inference import Token
from luthier.server.generation.choice_stream import Ended, Part, Said, parts
from luthier.server.generation.request import Underway
from luthier.server.generation.stop_and_call_parser import logprobs
from luthier.server.generation.tool_calls import Called
from luthier.server.http.errors import as_api_error
from luthier.server.routes.chat_completions.prepare import Completion
from luthier.types import chat as types

Keep = Callable[[dict[str, Any]], Awaitable[None]]


async def whole(completion: Completion) -> dict[str, Any]:
    """The completion as one object. The engine's slots are free when this returns or raises."""
    drafts = [_Draft() for _ in completion.generations]
    completion.start()
    try:
        async for index, part in parts(completion):
            drafts[index].add(part)
    finally:
        completion.cancel()
    return _assembled(completion, drafts)


def _assembled(completion: Completion, drafts: "list[_Draft]") -> dict[str, Any]:
    choices = [draft.choice(index, completion) for index, draft in enumerate(drafts)]
    made = types.ChatCompletion(**completion.head, choices=choices, usage=completion.usage).model_dump()
    for choice in made["choices"]:
        for absent in ("tool_calls", "function_call"):
            if choice["message"][absent] is None:
                del choice["message"][absent]
    return made


@dataclass
class _Draft:
    """One choice, gathered from its parts."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    called: Called | None = None
    reason: types.FinishReason = "stop"

    def add(self, part: Part) -> None:
        match part:
            case Said():
                self.text += part.text
                self.tokens += part.tokens
            case Called():
                self.called = part
            case Ended():
                self.reason = part.reason

    def choice(self, index: int, completion: Completion) -> types.Choice:
        called = self.called or Called()
        content = None if self.called and not self.text else self.text
        return types.Choice(
            index=index,
            message=types.AnswerMessage(
                content=content, tool_calls=called.tool_calls, function_call=called.function_call
            ),
            logprobs=_probabilities(completion, self.tokens) if content is not None else None,
            finish_reason=self.reason,
        )


class EventStream(StreamingResponse):
    """Started answers as server-sent events. However the response ends, the engine's slots are freed."""

    def __init__(self, answers: Underway, events: AsyncIterator[str], headers: dict[str, str]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answers.cancel()


async def events(completion: Completion, keep: Keep | None = None) -> AsyncIterator[str]:
    """Events in OpenAI's order; an error in mid-stream becomes a data line that the clients raise.

    `keep` gets the whole answer before the last event, so that who has read it finds the answer stored.
    """
    options = completion.body.stream_options
    with_usage = bool(options and options.include_usage)
    begun: set[int] = set()
    drafts = [_Draft() for _ in completion.generations]
    try:
        async for index, part in parts(completion):
            drafts[index].add(part)
            for choice in _chunk_choices(completion, index, part, index in begun):
                yield event(_chunk(completion, [choice]) | ({"usage": None} if with_usage else {}))
            begun.add(index)
        if keep:
            await keep(_assembled(completion, drafts))
        if with_usage:
            yield event(_chunk(completion, []) | {"usage": completion.usage.model_dump()})
        yield "data: [DONE]\n\n"
    except Exception as error:
        yield event(as_api_error(error).body())


def _chunk_choices(completion: Completion, index: int, part: Part, begun: bool) -> list[types.ChunkChoice]:
    """The chunks of one part. The first of a choice says who speaks: with empty text, or with its only call."""
    deltas: list[dict[str, Any]] = []
    tokens: list[Token] = []
    reason: types.FinishReason | None = None
    match part:
        case Said():
            deltas, tokens = [{"content": part.text}], part.tokens
        case Called():
            deltas = part.deltas()
        case Ended():
            deltas, reason = [{}], part.reason
    if not begun:
        speaks = {"role": "assistant", "content": None if isinstance(part, Called) else "", "refusal": None}
        deltas = [speaks | deltas[0], *deltas[1:]] if _is_one_call(part) else [speaks, *deltas]
    made = [types.ChunkChoice(index=index, delta=delta) for delta in deltas]
    made[-1].logprobs, made[-1].finish_reason = _probabilities(completion, tokens) if tokens else None, reason
    return made


def _is_one_call(part: Part) -> bool:
    return isinstance(part, Called) and len(part.tool_calls or []) <= 1


def _probabilities(completion: Completion, tokens: list[Token]) -> types.Logprobs | None:
    return logprobs(tokens, completion.renderer) if completion.with_tokens else None


def _chunk(completion: Completion, choices: list[types.ChunkChoice]) -> dict[str, Any]:
    return types.ChatCompletionChunk(**completion.head, choices=choices).model_dump()


def event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
