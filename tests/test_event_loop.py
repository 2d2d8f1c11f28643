"""The event loop answers other requests while the database keeps some waiting."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from luthier.catalogue import Catalogue
from luthier.server import create_app
from luthier.settings import Settings
from luthier.store import Store
from outages import outage

_PATIENCE_S = 30


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    empty_store = Store(tmp_path)
    yield empty_store
    empty_store.close()


@asynccontextmanager
async def _client(store: Store, folder: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(data=folder, **settings), store, Catalogue(folder / "cache"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as client:
        client.base_url = httpx.URL("http://localhost")
        yield client


@pytest.mark.parametrize("api_keys", ["", "sk-of-the-settings"])
def test_others_are_answered_while_the_database_does_not(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api_keys: str
) -> None:
    reached, answers, read_database = threading.Event(), threading.Event(), store._database.read

    @contextmanager
    def read_late() -> Iterator[Any]:
        reached.set()
        assert answers.wait(_PATIENCE_S)
        with read_database() as connection:
            yield connection

    async def ask() -> list[int]:
        async with _client(store, tmp_path, api_keys=api_keys) as client:
            waiting = [
                asyncio.create_task(client.get(path, headers={"authorization": f"Bearer {key}"}))
                for path in ("/v1/files", "/v1/models", "/ready")
                for key in ("sk-of-the-settings", "sk-luthier-of-nobody")
            ]
            assert await asyncio.to_thread(reached.wait, _PATIENCE_S)
            health = await client.get("/health")
            assert not any(task.done() for task in waiting)
            answers.set()
            return [health.status_code, *(response.status_code for response in await asyncio.gather(*waiting))]

    monkeypatch.setattr(store._database, "read", read_late)
    health, *statuses = asyncio.run(ask())
    assert health == 200
    unknown = 401 if api_keys else 200
    assert statuses == [200, unknown, 200, unknown, 200, 200]


@pytest.mark.parametrize("path", ["/v1/files", "/v1/models", "/ready", "/"])
def test_a_database_that_cannot_be_reached_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def ask() -> httpx.Response:
        async with _client(store, tmp_path) as client:
            return await client.get(path, headers={"authorization": "Bearer sk-luthier-some-key"})

    def refuse() -> None:
        raise outage()

    monkeypatch.setattr(store._database._engine, "connect", refuse)
    response = asyncio.run(ask())
    assert (response.status_code, response.json()["error"]["code"]) == (503, "database_unavailable")
    assert int(response.headers["retry-after"]) > 0
