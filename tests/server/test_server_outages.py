"""A database server that goes away: what was begun waits for it."""

import asyncio

import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from luthier.server.background.loopback_client import LoopbackClient
from luthier.server.routes.responses import run
from luthier.types.errors import UnavailableError
from outages import fails_first

_OUTAGES = 9


def test_requests_of_workers_wait_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.server.background.loopback_client._MAX_BACKOFF_S", 0)
    unavailable = UnavailableError("The database cannot be reached", code="database_unavailable")
    answers = iter([JSONResponse(unavailable.body(), 503)] * _OUTAGES)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await next(answers, JSONResponse({}))(scope, receive, send)

    async def post() -> int:
        client = LoopbackClient(application, asyncio.get_running_loop())
        response = await client.post("default", "/v1/embeddings", {})
        await client.aclose()
        return response.status_code

    assert asyncio.run(post()) == 200


def test_the_end_of_a_background_response_waits_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_POLL_S", 0)
    ends: list[str] = []
    asyncio.run(run._in_database(fails_first(lambda: ends.append("completed"), _OUTAGES)))
    assert ends == ["completed"]
