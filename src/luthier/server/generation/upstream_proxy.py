"""Proxy to the upstream service: the body with the upstream's model name, and its response unchanged.

No header of the client is forwarded.
"""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from luthier.server.model_resolver import SERVED_BY, UPSTREAM
from luthier.server.state import State
from luthier.types.errors import PermissionDeniedError, UnavailableError

_FORWARDED_HEADERS = ("content-type", "retry-after", "retry-after-ms", "x-should-retry", "x-request-id")


async def forward(state: State, model: str, body: dict[str, Any], path: str) -> Response:
    """The upstream's response. Raises UnavailableError when no service is configured or it cannot be reached."""
    client = state.app.upstream
    if client is None:
        raise UnavailableError(
            f"The model '{body['model']}' is served elsewhere, but no service is set: "
            "start the server with LUTHIER_UPSTREAM_BASE_URL and LUTHIER_UPSTREAM_API_KEY.",
            code="upstream_not_configured",
        )
    request = client.build_request("POST", path, json={**body, "model": model})
    try:
        response = await client.send(request, stream=True)
        if response.status_code in (401, 403):
            await response.aclose()
            raise _refused(response.status_code)
        headers = {name: response.headers[name] for name in _FORWARDED_HEADERS if name in response.headers}
        headers[SERVED_BY] = quote(UPSTREAM + model, safe=":/")
        if body.get("stream") and response.is_success:
            return _ProxiedStream(response, headers)
        try:
            return Response(await response.aread(), response.status_code, headers)
        finally:
            await response.aclose()
    except httpx.HTTPError as error:
        raise _unreachable(error) from error


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
    """Closes the upstream's response when the client disconnects."""

    def __init__(self, response: httpx.Response, headers: dict[str, str]) -> None:
        super().__init__(_lines(response), response.status_code, headers)
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._response.aclose()


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Complete lines only, so that an error in the middle of one becomes an event of its own."""
    partial_line = b""
    try:
        async for chunk in response.aiter_bytes():
            lines, newline, partial_line = (partial_line + chunk).rpartition(b"\n")
            if newline:
                yield lines + newline
        yield partial_line
    except httpx.HTTPError as error:
        yield f"\ndata: {json.dumps(_unreachable(error).body())}\n\n".encode()
