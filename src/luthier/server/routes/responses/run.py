"""Runs a prepared response: to its end, as a stream, or in the background."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from luthier.server.generation.request import RunningRequest
from luthier.server.generation.response import EventStream, submit
from luthier.server.http.errors import as_api_error
from luthier.server.http.event_log import EventLog
from luthier.server.routes.responses.events import Event, replayed
from luthier.server.routes.responses.prepare import PreparedResponse
from luthier.server.state import State
from luthier.store.outages import is_outage
from luthier.store.request_ids import is_seeded
from luthier.store.responses import StoredResponse
from luthier.types.common import now
from luthier.types.errors import NotFoundError, RateLimitError
from luthier.types.json_lines import json_line
from luthier.types.responses import FINAL, InputTokensDetails, ResponseUsage

_ELSEWHERE_S = 3600  # after which a response of another server is considered lost
_POLL_S = 0.5
_STOPPED = {
    "code": "server_error",
    "message": "The server stopped while it generated this response. Please send it again.",
}


async def complete(state: State, prepared: PreparedResponse) -> dict[str, Any]:
    """Return the finished response. Raises RateLimitError and the engine's errors; nothing is stored then."""
    running = RunningRequest(prepared.generation)
    try:
        async for _ in _generated(prepared, running):
            pass
    finally:
        running.cancel()
    await run_in_threadpool(_store, state, prepared)
    return prepared.events.response


def streamed(state: State, prepared: PreparedResponse, headers: dict[str, str]) -> EventStream:
    """Stream the response. A disconnect ends the generation, and nothing is stored. Raises RateLimitError."""
    running = RunningRequest(prepared.generation)
    return EventStream(_stream(state, prepared, running), headers, running.cancel)


async def _stream(state: State, prepared: PreparedResponse, running: RunningRequest) -> AsyncIterator[str]:
    events = prepared.events
    for event in events.created():
        yield _sent(event)
    try:
        async with aclosing(_generated(prepared, running)) as generated:
            async for event in generated:
                yield _sent(event)
        await run_in_threadpool(_store, state, prepared)  # before its end is sent, so that the client finds it
    except Exception as error:
        for event in events.fail(_error_body(error)):
            yield _sent(event)
    yield _sent(events.ended())


async def in_background(state: State, prepared: PreparedResponse, stream: bool, headers: dict[str, str]) -> Response:
    """Start generating, unless a repeated request already has; return the response, or stream its events.

    Raises RateLimitError.
    """
    response_id = prepared.events.response["id"]
    log = state.app.background.get(response_id)
    if log is None and is_seeded():
        ended = await run_in_threadpool(_find_ended, state, response_id)
        if ended:
            return replay(state, response_id, 0, headers) if stream else JSONResponse(ended.response, headers=headers)
    log = log or await start(state, prepared)
    return followed(log, 0, headers) if stream else JSONResponse(prepared.events.response, headers=headers)


def _find_ended(state: State, response_id: str) -> StoredResponse | None:
    """The stored response, if it has ended without an error."""
    try:
        stored = state.store.responses.retrieve(response_id)
    except NotFoundError:
        return None
    return stored if stored.response["status"] in FINAL and stored.response["status"] != "failed" else None


async def start(state: State, prepared: PreparedResponse) -> EventLog:
    """Start generating in the background. Raises RateLimitError if too many are waiting."""
    if len(state.app.background) >= state.settings.queue_limit:
        raise RateLimitError("Too many background responses are waiting. Please try again later.")
    response, log = prepared.events.response, EventLog()
    for event in prepared.events.created():
        log.append(event)
    state.app.background[response["id"]] = log
    try:
        await run_in_threadpool(state.store.responses.create, dict(response), prepared.sent, state.retention)
    except BaseException:
        del state.app.background[response["id"]]
        raise
    log.task = asyncio.create_task(_work(state, prepared, log))
    return log


async def _work(state: State, prepared: PreparedResponse, log: EventLog) -> None:
    events, response = prepared.events, prepared.events.response
    try:
        await _generate_into(log, state, prepared)
    except asyncio.CancelledError:
        for event in events.fail(None if log.cancelled else _STOPPED):
            log.append(event)
    except Exception as error:
        for event in events.fail(_error_body(error)):
            log.append(event)
    try:
        await _in_database(lambda: state.store.responses.finish(response, events.deltas))
    except Exception as error:  # such as a conversation that was deleted meanwhile
        for event in events.fail(_error_body(error)):
            log.append(event)
        await _in_database(lambda: state.store.responses.finish(response, events.deltas))
    finally:
        log.append(events.ended())
        log.close()
        del state.app.background[response["id"]]


async def _in_database(call: Callable[[], object]) -> None:
    """Retry while the database cannot be reached, since the creator of the response relies on its completion."""
    while True:
        try:
            await run_in_threadpool(call)
        except DBAPIError as error:
            if not is_outage(error):
                raise
        else:
            return
        await asyncio.sleep(_POLL_S)


async def _generate_into(log: EventLog, state: State, prepared: PreparedResponse) -> None:
    running = await submit(prepared.generation)
    try:
        await _in_database(lambda: state.store.responses.start(prepared.events.response["id"]))
        async with aclosing(_generated(prepared, running)) as generated:
            async for event in generated:
                log.append(event)
    finally:
        running.cancel()


async def _generated(prepared: PreparedResponse, running: RunningRequest) -> AsyncGenerator[Event]:
    """The events between the first and the last one; then the response is complete."""
    events = prepared.events
    for event in events.started():
        yield event
    async with aclosing(running.parts()) as parts:
        async for _, part in parts:
            for event in events.add(part):
                yield event
    usage = running.usage
    events.end(
        ResponseUsage(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(cached_tokens=usage.prompt_tokens_details.cached_tokens),
            output_tokens=usage.completion_tokens,
            total_tokens=usage.total_tokens,
        ).model_dump()
    )


def _store(state: State, prepared: PreparedResponse) -> None:
    """Raises NotFoundError for a conversation that has been deleted meanwhile."""
    response = prepared.events.response
    if prepared.stored:
        state.store.responses.create(response, prepared.sent, state.retention, deltas=prepared.events.deltas)
    elif response["conversation"]:
        state.store.conversations.add(response["conversation"]["id"], [*prepared.sent, *response["output"]])


def settled(state: State, response_id: str) -> StoredResponse:
    """Return a stored response. One that is no longer generated, because its server ended, is marked as failed.

    If servers share a database, another one may be generating it, for up to an hour. Raises NotFoundError.
    """
    stored = state.store.responses.retrieve(response_id)
    if stored.response["status"] in FINAL or response_id in state.app.background or runs_elsewhere(state, stored):
        return stored
    state.store.responses.finish(stored.response | {"status": "failed", "error": _STOPPED}, stored.deltas)
    return state.store.responses.retrieve(response_id)


def runs_elsewhere(state: State, stored: StoredResponse) -> bool:
    """Whether another server may be generating the response."""
    response = stored.response
    is_unfinished = response["status"] not in FINAL and response["id"] not in state.app.background
    return state.store.is_shared and is_unfinished and response["created_at"] > now() - _ELSEWHERE_S


def cancel_elsewhere(state: State, stored: StoredResponse) -> None:
    """Cancel it; its server finishes the generation but stores nothing."""
    state.store.responses.finish(stored.response | {"status": "cancelled"}, stored.deltas)


def followed(log: EventLog, start: int, headers: dict[str, str]) -> EventStream:
    """Stream the events of a background response from number `start` on; a disconnect does not end it."""

    async def lines() -> AsyncIterator[str]:
        async for event in log.follow(start):
            yield _sent(event)

    return EventStream(lines(), headers, lambda: None)


def replay(state: State, response_id: str, start: int, headers: dict[str, str]) -> EventStream:
    """Stream the events of a response that is not generated here, waiting for one that another server generates."""

    async def lines() -> AsyncIterator[str]:
        stored = await run_in_threadpool(settled, state, response_id)
        while runs_elsewhere(state, stored):
            await asyncio.sleep(_POLL_S)
            stored = await run_in_threadpool(settled, state, response_id)
        for event in replayed(stored.response, stored.deltas):
            if event["sequence_number"] >= start:
                yield _sent(event)

    return EventStream(lines(), headers, lambda: None)


def _error_body(error: Exception) -> dict[str, str]:
    api_error = as_api_error(error)
    code = "rate_limit_exceeded" if isinstance(api_error, RateLimitError) else "server_error"
    return {"code": code, "message": api_error.message}


def _sent(event: Event) -> str:
    return f"event: {event['type']}\ndata: {json_line(event)}\n\n"
