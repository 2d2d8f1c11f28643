"""The application's requests to itself, for work that goes on in the background: whose they are, and trying again."""

import asyncio
import itertools
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.server.caller import INSIDE
from luthier.types.projects import Caller

_ATTEMPTS = 5


def client(app: ASGIApp, project: str, timeout_s: float) -> httpx.AsyncClient:
    """Its requests are the project's, and are checked, answered and refused exactly as over HTTP."""
    transport = httpx.ASGITransport(_as_caller(app, Caller(project=project, admin=False)))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=timeout_s)


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> httpx.Response:
    """Full queues and limits pass, however often; of other faults that may pass so many are borne."""
    for attempt in itertools.count():
        response = await client.post(path, json=body)
        lasting = response.status_code < 500 or response.headers.get("x-should-retry") == "false"
        if response.status_code != 429 and (lasting or attempt + 1 >= _ATTEMPTS):
            return response
        await asyncio.sleep(min(30.0, 0.5 * 2 ** min(attempt, 6)))
    raise AssertionError("unreachable")


def _as_caller(app: ASGIApp, caller: Caller) -> ASGIApp:
    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, INSIDE: caller}, receive, send)

    return inside
