"""The application's requests to itself, for work that goes on in the background: whose they are, and trying again."""

import asyncio
import itertools
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.server.http.auth import INTERNAL_CALLER
from luthier.server.http.json_body import parse_json
from luthier.server.model_resolver import SERVED_BY, UPSTREAM
from luthier.types.errors import BadRequestError
from luthier.types.projects import Caller

_ATTEMPTS = 5
_PATIENCE_S = 600.0  # with the limits of a service elsewhere: those of a minute pass, those of a month do not


def client(app: ASGIApp, project: str, timeout_s: float) -> httpx.AsyncClient:
    """Its requests are the project's, and are checked, answered and refused exactly as over HTTP."""
    transport = httpx.ASGITransport(_as_caller(app, Caller(project=project, admin=False)))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=timeout_s)


async def post(
    client: httpx.AsyncClient,
    path: str,
    body: dict[str, Any],
    gate: AbstractAsyncContextManager[Any] = nullcontext(),  # noqa: B008
) -> httpx.Response:
    """The answer, after faults that may pass have passed or have been borne long enough. `gate` is held while it is
    asked for, and free for others in between.
    """
    begun = time.monotonic()
    for attempt in itertools.count():
        async with gate:
            response = await client.post(path, json=body)
        if not _may_pass(response, attempt + 1, time.monotonic() - begun):
            return response
        await asyncio.sleep(min(30.0, 0.5 * 2 ** min(attempt, 6)))
    raise AssertionError("unreachable")


def _may_pass(response: httpx.Response, attempts: int, waited_s: float) -> bool:
    """Our own full queues do, however often; limits elsewhere for a while; of other faults so many are borne."""
    if response.headers.get("x-should-retry") == "false":
        return False
    if response.status_code != 429:
        return response.status_code >= 500 and attempts < _ATTEMPTS
    if not response.headers.get(SERVED_BY, "").startswith(UPSTREAM):
        return True
    return _code(response) != "insufficient_quota" and waited_s < _PATIENCE_S


def _code(response: httpx.Response) -> Any:
    """Of the error; None where what a service elsewhere sends is no error as OpenAI writes them."""
    try:
        body = parse_json(response.content)
    except BadRequestError:
        return None
    error = body.get("error") if isinstance(body, dict) else None
    return error.get("code") if isinstance(error, dict) else None


def _as_caller(app: ASGIApp, caller: Caller) -> ASGIApp:
    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, INTERNAL_CALLER: caller}, receive, send)

    return inside
