"""A bit flipped in the database: no server starts or requests are refused, no backup is made, and `doctor` names it."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from luthier.catalogue import Catalogue
from luthier.cli.doctor import Finding, _contents, _findings
from luthier.server import create_app
from luthier.settings import Settings
from luthier.store import Store
from luthier.store.backup import DATABASE, back_up
from luthier.types.errors import LuthierError
from store.test_store import put

pytestmark = pytest.mark.sqlite

_PAGE_BYTES = 4096


def _prepare(data: Path) -> Path:
    """A database of a store that is closed, all of it in one file."""
    store = Store(data)
    for number in range(40):
        put(store, b"x" * number)
    store.delete_expired()
    store.close()
    return data / DATABASE


def _flip(database: Path, offset: int) -> None:
    content = bytearray(database.read_bytes())
    content[offset] ^= 0x10
    database.write_bytes(content)


def _flip_kind(database: Path, table: str) -> None:
    """Flips a bit of the first byte of a table's first page, which says what kind of page it is."""
    with closing(sqlite3.connect(database)) as connection:
        [page] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    _flip(database, (page - 1) * _PAGE_BYTES)


def _verified(data: Path) -> list[Finding]:
    """What `doctor --verify` says of the data folder."""
    return _findings(_contents, Settings(data=data))


_DAMAGES: dict[str, Callable[[Path], None]] = {
    "header": lambda database: _flip(database, 2),
    "schema": lambda database: _flip_kind(database, "schema"),
    "ids of files": lambda database: _flip_kind(database, "sqlite_autoindex_files_1"),
}


@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_database_that_cannot_be_read_at_the_start(tmp_path: Path, damage: str) -> None:
    _DAMAGES[damage](_prepare(tmp_path))
    with pytest.raises(LuthierError, match=r"is damaged: .*\. Restore a backup"):
        Store(tmp_path)
    assert [finding.status for finding in _verified(tmp_path)] == ["error"]


def test_a_request_that_meets_the_damage(tmp_path: Path) -> None:
    _flip_kind(_prepare(tmp_path), "evaluations")
    store = Store(tmp_path)
    app = create_app(Settings(data=tmp_path), store, Catalogue(tmp_path / "cache"))

    async def list_evaluations() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/v1/evaluations")

    response = asyncio.run(list_evaluations())
    store.close()
    with pytest.raises(LuthierError, match="is damaged"):
        back_up(tmp_path, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    assert (response.status_code, response.json()["error"]["code"]) == (500, "corrupt_data")
    assert response.headers["x-should-retry"] == "false"
    findings = _verified(tmp_path)
    assert {finding.status for finding in findings} == {"error"}
    assert "the database is damaged: " in findings[0].text
