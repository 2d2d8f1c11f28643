"""In-process requests to the application, for batches and evaluations: on behalf of a project, with low priority."""

import asyncio
import itertools
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.inference import low_priority
from luthier.server.http.auth import INTERNAL_CALLER
from luthier.server.model_resolver import SERVED_BY
from luthier.types.aliases import UPSTREAM
from luthier.types.errors import BadRequestError
from luthier.types.projects import Caller
from luthier.types.strict_json import parse_json

_MAX_ATTEMPTS = 5  # for server errors
_DATABASE_CODES = ("database_busy", "database_unavailable")
_UPSTREAM_LIMITS_S = 600.0  # limits per minute pass within this time, monthly ones do not
_MAX_BACKOFF_S = 30.0
_TIMEOUT_S = 24 * 3600.0  # a request waits while interactive ones keep the engine busy


class LoopbackClient:
    """Requests are validated, answered and rejected exactly as over HTTP. Implements the worker's `Application`."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        """`loop`: the event loop that runs `app`, where `post` must be awaited."""
        self._app, self.loop = app, loop
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def post(
        self, project: str, path: str, body: dict[str, Any], gate: AbstractAsyncContextManager[Any] | None = None
    ) -> httpx.Response:
        """Send a request and return the response, after retries of transient errors. `gate` is held only during each
        attempt."""
        low_priority.set(True)
        started, client = time.monotonic(), self._client(project)
        for attempt in itertools.count():
            async with gate or nullcontext():
                response = await client.post(path, json=body)
            if not _is_transient(response, attempt + 1, time.monotonic() - started):
                return response
            await asyncio.sleep(min(_MAX_BACKOFF_S, 0.5 * 2 ** min(attempt, 6)))
        raise AssertionError("unreachable")

    def _client(self, project: str) -> httpx.AsyncClient:
        if project not in self._clients:
            transport = httpx.ASGITransport(_as_caller(self._app, Caller(project=project, admin=False)))
            self._clients[project] = httpx.AsyncClient(
                transport=transport, base_url="http://localhost", timeout=_TIMEOUT_S
            )
        return self._clients[project]

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()


def _is_transient(response: httpx.Response, attempts: int, waited_s: float) -> bool:
    """Whether to retry: always for our own full queues and database, for a while for upstream rate limits, a few
    times for server errors."""
    if response.headers.get("x-should-retry") == "false":
        return False
    is_upstream = response.headers.get(SERVED_BY, "").startswith(UPSTREAM)
    if response.status_code != 429:
        is_database = response.status_code == 503 and not is_upstream and _error_code(response) in _DATABASE_CODES
        return is_database or (response.status_code >= 500 and attempts < _MAX_ATTEMPTS)
    if not is_upstream:
        return True
    return _error_code(response) != "insufficient_quota" and waited_s < _UPSTREAM_LIMITS_S


def _error_code(response: httpx.Response) -> Any:
    """The error's code; None if an upstream error does not have OpenAI's format."""
    try:
        body = parse_json(response.content)
    except BadRequestError:
        return None
    error = body.get("error") if isinstance(body, dict) else None
    return error.get("code") if isinstance(error, dict) else None


def _as_caller(app: ASGIApp, caller: Caller) -> ASGIApp:
    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, INTERNAL_CALLER: caller}, receive, send)

    return call
