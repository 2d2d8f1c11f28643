"""`pytest --postgres`: every store that a test opens in its own process is on PostgreSQL instead of SQLite."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement

from luthier.types import clock
from postgres_server import PostgresServer


class OnPostgres:
    """Stores on one folder share a database; those of different folders, and of different tests, do not.

    The clock that a test puts in the system's place holds for the database, too.
    """

    def pytest_sessionstart(self) -> None:
        self._server = PostgresServer().__enter__()
        self._template_name: str | None = None

    def pytest_sessionfinish(self) -> None:
        self._server.__exit__()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        on_sqlite = [test for test in items if test.get_closest_marker("sqlite")]
        config.hook.pytest_deselected(items=on_sqlite)
        items[:] = [test for test in items if test not in on_sqlite]

    @pytest.fixture(autouse=True)
    def _stores_on_postgres(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from luthier.store import Store
        from luthier.store.postgres_backend import PostgresBackend

        urls: dict[Path, str] = {}
        construct, database_time = Store.__init__, PostgresBackend.current_time

        def construct_on_postgres(store: Store, folder: Path, *options: Any, **more_options: Any) -> None:
            if folder not in urls:
                urls[folder] = self._server.new_database("TEMPLATE", self._template(construct))
            construct(store, folder, *options, **{"url": urls[folder], **more_options})

        def test_time(backend: PostgresBackend) -> ColumnElement[float]:
            return database_time(backend) + (clock.CLOCK.time() - time.time())

        monkeypatch.setattr(Store, "__init__", construct_on_postgres)
        monkeypatch.setattr(PostgresBackend, "current_time", test_time)

    def _template(self, construct: Callable[..., None]) -> str:
        """The name of a database with all tables, which is copied faster than they are created."""
        if self._template_name is None:
            from luthier.store import Store

            url, store = self._server.new_database(), object.__new__(Store)
            with tempfile.TemporaryDirectory() as folder:
                construct(store, Path(folder), url=url)
            store.close()
            self._template_name = url.rpartition("/")[2]
        return self._template_name
