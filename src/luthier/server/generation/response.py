"""Responses of the completion endpoints, as one object or as server-sent events, from the same parts."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from luthier.server.generation.choice_stream import GeneratedChoice, Part
from luthier.server.generation.request import GenerationRequest, RunningRequest
from luthier.server.http.errors import as_api_error, error_body
from luthier.types.chat import StreamOptions, Usage
from luthier.types.errors import RateLimitError
from luthier.types.json_lines import json_line

# Receives the complete response before its last byte is sent.
OnComplete = Callable[[dict[str, Any]], Awaitable[None]]

QUEUE_TIMEOUT_S = 600.0  # for a place in the queue, once completed choices would be lost
_QUEUE_POLL_S = 0.5
_STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # proxies send every event at once


class ResponseWriter(ABC):
    """Writes the choices of one request in the format of one endpoint."""

    def __init__(self, request: GenerationRequest, stream_options: StreamOptions | None) -> None:
        self.request = request
        self.include_usage = bool(stream_options and stream_options.include_usage)

    async def score_prompts(self) -> None:
        """Compute the log-probabilities of echoed prompts. Raises RateLimitError."""
        return

    @abstractmethod
    def complete(self, choices: Sequence[GeneratedChoice], usage: Usage) -> dict[str, Any]:
        """The response object."""

    def opening_chunks(self) -> Iterable[dict[str, Any]]:
        """Chunks before the first generated token."""
        return ()

    @abstractmethod
    def chunks(self, index: int, part: Part) -> Iterable[dict[str, Any]]:
        """The chunks of one part of choice `index`."""

    @abstractmethod
    def empty_chunk(self) -> dict[str, Any]:
        """A chunk without choices, for the usage."""


async def complete_response(writer: ResponseWriter, max_running: int) -> dict[str, Any]:
    """Return the response object; at most `max_running` choices run at a time. Frees the engine's slots before it
    returns.

    Raises RateLimitError, normally before the first choice; later choices wait for a place in the queue.
    """
    request, completion_tokens, cached_tokens = writer.request, 0, 0
    choices = [GeneratedChoice() for _ in request.engine_requests]
    for first in range(0, len(choices), max_running):
        running = await submit(request, first, max_running, timeout_s=QUEUE_TIMEOUT_S if first else 0.0)
        try:
            async for index, part in running.parts():
                choices[index].add(part)
        finally:
            running.cancel()
        completion_tokens += running.completion_tokens
        cached_tokens = cached_tokens if first else running.cached_tokens
    return writer.complete(choices, request.usage(completion_tokens, cached_tokens))


async def submit(
    request: GenerationRequest, first: int = 0, count: int | None = None, *, timeout_s: float = QUEUE_TIMEOUT_S
) -> RunningRequest:
    """Submit choices. Raises RateLimitError if the queue stays full for `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return RunningRequest(request, first, count)
        except RateLimitError:
            if time.monotonic() >= deadline_s:
                raise
        await asyncio.sleep(_QUEUE_POLL_S)


class EventStream(StreamingResponse):
    """Server-sent events; `on_close` ends the work behind them, however the response ends."""

    def __init__(self, events: AsyncIterator[str], headers: dict[str, str], on_close: Callable[[], None]) -> None:
        self._on_close = on_close
        super().__init__(events, media_type="text/event-stream", headers=_STREAM_HEADERS | headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_close()


def streamed_response(
    writer: ResponseWriter, headers: dict[str, str], on_complete: OnComplete | None = None
) -> EventStream:
    """Submit the request and stream its events; the engine's slots are freed at its end. Raises RateLimitError."""
    running = RunningRequest(writer.request)
    return EventStream(_events(writer, running, on_complete), headers, running.cancel)


async def _events(
    writer: ResponseWriter, running: RunningRequest, on_complete: OnComplete | None
) -> AsyncIterator[str]:
    """Events in OpenAI's order; an error during generation becomes an event that OpenAI's clients raise."""
    choices = [GeneratedChoice() for _ in writer.request.engine_requests]
    no_usage = {"usage": None} if writer.include_usage else {}
    try:
        for chunk in writer.opening_chunks():
            yield _event(chunk | no_usage)
        async for index, part in running.parts():
            choices[index].add(part)
            for chunk in writer.chunks(index, part):
                yield _event(chunk | no_usage)
        if on_complete:
            await on_complete(writer.complete(choices, running.usage))
        if writer.include_usage:
            yield _event(writer.empty_chunk() | {"usage": running.usage.model_dump()})
        yield "data: [DONE]\n\n"
    except Exception as error:
        yield _event(error_body(as_api_error(error)))


def _event(data: dict[str, Any]) -> str:
    return f"data: {json_line(data)}\n\n"
