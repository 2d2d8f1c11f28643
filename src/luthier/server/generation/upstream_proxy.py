"""Proxy to the upstream service: the body with the upstream's model name, and its response unchanged.

No header of the client is forwarded.
"""

import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from fastapi.responses import Response, StreamingResponse
from starlette.background import BackgroundTask
from starlette.types import Receive, Scope, Send

from luthier.server.http.errors import error_body
from luthier.server.http.upstream_models import says_gone
from luthier.server.model_resolver import SERVED_BY, ResolvedModel
from luthier.server.state import State
from luthier.types.aliases import UPSTREAM
from luthier.types.errors import PermissionDeniedError, UnavailableError

# Receives the complete body of a successful response after its last byte has been sent; must not raise.
OnAnswer = Callable[[bytes], Awaitable[None]]

_log = logging.getLogger(__name__)
_FORWARDED_HEADERS = ("content-type", "retry-after", "retry-after-ms", "x-should-retry", "x-request-id")
_MAX_COPIED_BYTES = 16 * 1024 * 1024  # of a stream


@dataclass(frozen=True)
class UpstreamCall:
    """A request to the upstream service: the client's `body`, for its model `model`, to the endpoint `path`."""

    model: str
    body: dict[str, Any]
    path: str


async def forward(state: State, model: str, body: dict[str, Any], path: str) -> Response:
    """Return the upstream's response. Raises UnavailableError if no service is configured or it cannot be reached."""
    call = UpstreamCall(model, body, path)
    try:
        return await _response(call, await _send(state, call), None)
    except httpx.HTTPError as error:
        raise _unreachable(error) from error


async def forward_unless_gone(
    state: State, call: UpstreamCall, target: ResolvedModel, on_answer: OnAnswer | None = None
) -> Response | None:
    """Return the upstream's response; None if its model is gone and the alias `target` has a successor, and for the
    share of requests that the successor answers in any case.

    Only the upstream service itself can report that a model is gone; network errors, rate limits and failures are
    passed on. Raises UnavailableError like `forward`.
    """
    if target.successor and (state.app.upstream_models.is_gone(call.model) or _is_chosen(target.share)):
        return None
    try:
        response = await _send(state, call)
        if target.successor and response.status_code in (400, 403, 404, 410):
            try:
                gone = says_gone(response.status_code, await response.aread())
            finally:
                await response.aclose()
            if gone:
                state.app.upstream_models.report_gone(call.model, target.name, target.successor.weights_name)
                return None
        return await _response(call, response, on_answer)
    except httpx.HTTPError as error:
        raise _unreachable(error) from error


def _is_chosen(share: float) -> bool:
    """Returns True for this share of calls, at random."""
    return random.random() < share  # noqa: S311 - no secret depends on it


async def _send(state: State, call: UpstreamCall) -> httpx.Response:
    """The response, with its body unread."""
    client = state.app.upstream
    if client is None:
        raise UnavailableError(
            f"The model '{call.body['model']}' is served upstream, but no upstream service is set: "
            "start the server with LUTHIER_UPSTREAM_BASE_URL and LUTHIER_UPSTREAM_API_KEY.",
            code="upstream_not_configured",
        )
    request = client.build_request("POST", call.path, json={**call.body, "model": call.model})
    return await client.send(request, stream=True)


async def _response(call: UpstreamCall, response: httpx.Response, on_answer: OnAnswer | None) -> Response:
    if response.status_code in (401, 403):
        await response.aclose()
        raise _refused(response.status_code)
    headers = {name: response.headers[name] for name in _FORWARDED_HEADERS if name in response.headers}
    headers[SERVED_BY] = quote(UPSTREAM + call.model, safe=":/")
    if call.body.get("stream") and response.is_success:
        return _ProxiedStream(response, headers, on_answer)
    try:
        content = await response.aread()
    finally:
        await response.aclose()
    task = BackgroundTask(on_answer, content) if on_answer and response.is_success else None
    return Response(content, response.status_code, headers, background=task)


def _refused(status: int) -> PermissionDeniedError:
    """Replaces the upstream's own error, which may quote the operator's key."""
    return PermissionDeniedError(
        f"The upstream service refused this server's key (status {status}); its operator can set another with "
        "LUTHIER_UPSTREAM_API_KEY.",
        code="upstream_refused",
    )


def _unreachable(error: httpx.HTTPError) -> UnavailableError:
    message = f"The upstream service could not be reached: {type(error).__name__}: {error}"
    return UnavailableError(message, code="upstream_unreachable")


class _ProxiedStream(StreamingResponse):
    """Closes the upstream's response when the client disconnects. With `on_answer`, keeps a copy for it."""

    def __init__(self, response: httpx.Response, headers: dict[str, str], on_answer: OnAnswer | None) -> None:
        self._response, self._on_answer = response, on_answer
        self._copy = bytearray()
        lines = _lines(response)
        super().__init__(self._copied(lines) if on_answer else lines, response.status_code, headers)

    async def _copied(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in lines:
            if self._on_answer:
                self._copy += chunk
            if len(self._copy) > _MAX_COPIED_BYTES:
                _log.warning("a stream of more than %d bytes was not captured", _MAX_COPIED_BYTES)
                self._on_answer = None
                self._copy.clear()
            yield chunk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._response.aclose()
            if self._on_answer:
                await self._on_answer(bytes(self._copy))


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield only complete lines, so that an error in the middle of one becomes a separate event."""
    partial_line = b""
    try:
        async for chunk in response.aiter_bytes():
            lines, newline, partial_line = (partial_line + chunk).rpartition(b"\n")
            if newline:
                yield lines + newline
        yield partial_line
    except httpx.HTTPError as error:
        yield f"\ndata: {json.dumps(error_body(_unreachable(error)))}\n\n".encode()
