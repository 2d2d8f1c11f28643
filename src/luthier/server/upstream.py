"""Requests for a model of a service elsewhere, passed through: the body with the other name, the answer as it comes.

The address is the operator's setting, never part of a request. Knows nothing about what is asked.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi.responses import Response, StreamingResponse

from luthier.server.state import State
from luthier.settings import Settings
from luthier.types.errors import UnavailableError

_PASSED_ON = ("content-type", "retry-after", "retry-after-ms", "x-should-retry", "x-request-id")


def client(settings: Settings) -> httpx.AsyncClient | None:
    if not settings.upstream_base_url:
        return None
    key = settings.upstream_api_key
    headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    timeout = httpx.Timeout(600, connect=10)
    return httpx.AsyncClient(base_url=settings.upstream_base_url, headers=headers, timeout=timeout)


async def forward(state: State, model: str, body: dict[str, Any], path: str) -> Response:
    """Raises UnavailableError when no service is set or it cannot be reached."""
    if state.upstream is None:
        raise UnavailableError(
            f"The model '{body.get('model')}' is served elsewhere, but no service is set: "
            "start the server with LUTHIER_UPSTREAM_BASE_URL and LUTHIER_UPSTREAM_API_KEY.",
            code="upstream_not_configured",
        )
    request = state.upstream.build_request("POST", path, json={**body, "model": model})
    try:
        response = await state.upstream.send(request, stream=True)
    except httpx.HTTPError as error:
        message = f"The upstream service could not be reached: {type(error).__name__}: {error}"
        raise UnavailableError(message, code="upstream_unreachable") from error
    headers = {name: response.headers[name] for name in _PASSED_ON if name in response.headers}
    if body.get("stream") and response.is_success:
        return StreamingResponse(_lines(response), response.status_code, headers)
    try:
        content = await response.aread()
    finally:
        await response.aclose()
    return Response(content, response.status_code, headers)


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in response.aiter_bytes():
            yield part
    finally:
        await response.aclose()
