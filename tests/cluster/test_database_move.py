"""The rows of a store move from SQLite to PostgreSQL and back, all of them or none."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import JSON, Column, insert, null

from luthier.cli import main
from luthier.store import Event, Store
from luthier.store.database import metadata, schema
from luthier.store.database_move import move_to_folder, move_to_postgres
from luthier.types.errors import LuthierError
from postgres_server import PostgresServer, postgres_or_skip
from store.test_store import JOB, put

pytestmark = pytest.mark.postgres
BIG = 3 * 1024**3


@pytest.fixture(name="postgres", scope="module")
def _postgres() -> Iterator[PostgresServer]:
    with postgres_or_skip() as server:
        yield server


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """Of an empty database."""
    return postgres.new_database()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a file and a job."""
    store = Store(tmp_path / "data")
    put(store, b"content")
    store.jobs.create(**JOB)
    store.close()
    return tmp_path / "data"


def _value(column: Column[Any], number: int) -> Any:
    """Of the row with that number; of the second row null, where that may be."""
    if number == 2 and column.nullable:
        return null()
    if column.foreign_keys:
        [key] = column.foreign_keys
        return f"{key.column.table.name} 1"
    if isinstance(column.type, JSON):
        return {"text": "半 \0", "number": 0.1, "none": None} if number == 1 else None  # which is a JSON null
    if column.name == "seq":
        return 7 * number
    kind = getattr(column.type, "impl_instance", column.type)
    values = {
        int: BIG + number,
        float: 0.1 * number,
        bytes: b"\0\xff",
        str: f"{column.name} {number} 半 \N{ZERO WIDTH JOINER}",
    }
    return f"{column.table.name} {number}" if column.name == "id" else values[kind.python_type]


def _fill(data: Path) -> None:
    """Two rows in every table."""
    store = Store(data)
    with store._database.write() as connection:
        for table in metadata.sorted_tables:
            for number in (1, 2) if table is not schema else ():
                connection.execute(insert(table).values({column.name: _value(column, number) for column in table.c}))
    store.close()


def _rows(data: Path) -> dict[str, list[tuple[object, ...]]]:
    """Of every table, as SQLite has them."""
    with closing(sqlite3.connect(data / "luthier.db")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in tables}  # noqa: S608


def test_every_row_goes_there_and_back(url: str, tmp_path: Path) -> None:
    data, back = tmp_path / "data", tmp_path / "back"
    _fill(data)
    before = _rows(data)
    summary = move_to_postgres(data, url)
    assert summary.rows == {name: len(rows) for name, rows in before.items()}
    assert set(summary.rows.values()) == {1, 2}
    assert summary.cleaned == 0
    assert summary.old_database
    assert not (data / "luthier.db").exists()
    Path(summary.old_database).rename(data / "luthier.db")
    assert _rows(data) == before
    assert move_to_folder(url, back).rows == summary.rows
    assert _rows(back) == before


def test_the_data_folder_is_used_with_postgresql_from_then_on(data: Path, url: str) -> None:
    assert move_to_postgres(data, url).missing == []
    with pytest.raises(LuthierError, match="contains files but no database"):
        Store(data)
    store = Store(data, url=url)
    [file] = store.files.list(purpose=None, limit=9, ascending=True, after=None).data
    assert store.files.path(file.id).read_bytes() == b"content"
    newest = put(store, b"more"), store.jobs.create(**JOB)  # with numbers after those that were moved
    store.close()
    assert move_to_folder(url, data).rows["files"] == 2
    with pytest.raises(LuthierError, match=r"contains luthier\.db, but the setting `store` is a PostgreSQL URL"):
        Store(data, url=url)
    store = Store(data)
    assert store.files.list(purpose=None, limit=9, ascending=False, after=None).data[0] == newest[0]
    assert store.jobs.list(limit=9, after=None).data[0] == newest[1]
    store.close()


def test_what_postgresql_cannot_keep_is_cleaned_and_counted(data: Path, url: str) -> None:
    store = Store(data)
    [job] = store.jobs.list(limit=9, after=None).data
    store.jobs.record(job.id, Event("kept", data={"text": "NaN \0"}))
    store.close()
    with closing(sqlite3.connect(data / "luthier.db")) as connection:  # as an earlier release could write it
        connection.execute(
            "UPDATE events SET message = 'half ' || char(0), data = '{\"loss\": NaN}' WHERE message LIKE 'Created%'"
        )
        connection.commit()
    assert move_to_postgres(data, url).cleaned == 2
    store = Store(data, url=url)
    assert [(event.message, event.data) for event in store.jobs.events(job.id, limit=9, after=None).data] == [
        ("kept", {"text": "NaN \0"}),
        ("half \ufffd", {"loss": None}),
    ]
    store.close()


def test_a_database_with_rows_or_sessions_is_refused(data: Path, url: str, tmp_path: Path) -> None:
    before = _rows(data)
    server = Store(tmp_path / "other", url=url)
    with pytest.raises(LuthierError, match=r"has \d+ sessions of servers or workers"):
        move_to_postgres(data, url)
    put(server)
    server.close()
    with pytest.raises(LuthierError, match="is not empty: it has rows in checksums, files"):
        move_to_postgres(data, url)
    assert _rows(data) == before


def test_rows_that_are_refused_leave_nothing_behind(data: Path, url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data / "luthier.db")) as connection:
        connection.execute("UPDATE jobs SET method = 'no JSON'")
        connection.commit()
    with pytest.raises(LuthierError, match=r"The table jobs cannot be copied: .*json.* Nothing was moved\."):
        move_to_postgres(data, url)
    assert (data / "luthier.db").exists()
    with pytest.raises(LuthierError, match="contains no Luthier tables"):
        move_to_folder(url, tmp_path / "back")


def test_a_role_that_may_make_no_tables(data: Path, postgres: PostgresServer) -> None:
    url = postgres.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
    before = _rows(data)
    with pytest.raises(LuthierError, match=r"The move was interrupted: permission denied .* is unchanged\."):
        move_to_postgres(data, url.replace("luthier@", "guest@"))
    assert _rows(data) == before


def test_the_command_counts_what_it_moved(data: Path, url: str) -> None:
    arguments = ["store", "move", "--to", url, "--data", str(data)]
    moved = CliRunner().invoke(main, [*arguments, "--json"])
    assert json.loads(moved.stdout)["rows"]["files"] == 1
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert "contains no Luthier database" in refused.stderr
    moved_back = CliRunner().invoke(main, ["store", "move", "--from", url, "--data", str(data), "--lang", "zh"])
    assert "行" in moved_back.stdout
    assert "不要设置 LUTHIER_STORE" in moved_back.stderr
