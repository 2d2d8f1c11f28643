"""Databases of earlier versions: nothing is lost, and they become what a new one is."""

import sqlite3
from pathlib import Path

import pytest

from luthier.store import Store, migrations
from luthier.types.projects import DEFAULT_PROJECT

pytestmark = pytest.mark.sqlite
MODEL = "ft:gpt-4o-mini-2024-07-18:personal::00000001"


@pytest.fixture(params=range(1, migrations.SCHEMA_VERSION))
def version(request: pytest.FixtureRequest) -> int:
    """Every earlier schema version."""
    return int(request.param)


@pytest.fixture
def old(tmp_path: Path, version: int) -> Path:
    """A data folder whose database has that version."""
    dump = Path(__file__).parent / f"version_{version}.sql"
    with sqlite3.connect(tmp_path / "luthier.db") as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()
    return tmp_path


def _tables(folder: Path) -> dict[str, set[tuple[object, ...]]]:
    """Of each table its columns (name, type, not null, default, key), in any order; indexes as tables of theirs."""
    with sqlite3.connect(folder / "luthier.db") as connection:
        names = connection.execute("SELECT type, name FROM sqlite_master").fetchall()
        pragma = {"table": "table_info", "index": "index_info"}
        tables = {
            name: {tuple(row[1:]) for row in connection.execute(f"PRAGMA {pragma[kind]}('{name}')")}
            for kind, name in names
        }
        tables["schema rows"] = set(connection.execute("SELECT version FROM schema").fetchall())
    connection.close()
    return tables


def test_an_old_database_keeps_what_it_holds(old: Path, version: int) -> None:
    store = Store(old)
    for scope in (store, store.within(DEFAULT_PROJECT)):
        assert scope.files.retrieve(f"file-of-version-{version}").filename == "a.jsonl"
        assert scope.jobs.retrieve(f"ftjob-of-version-{version}").metadata == {"team": "a"}
        assert len(scope.jobs.events(f"ftjob-of-version-{version}", limit=9, after=None).data) == 2
        assert scope.jobs.checkpoints(f"ftjob-of-version-{version}", limit=9, after=None).data[0].step_number == 1
        assert [model.id for model in scope.models.list()] == [MODEL]
    assert store.within("proj_other").models.list() == []
    store.close()


def test_work_of_an_earlier_version_goes_on(tmp_path: Path, old: Path, version: int) -> None:
    """Version 2 ran evaluations without a lease, and leased batches to owners that cannot be told alive from dead."""
    if version < 2:
        return
    store = Store(old)
    evaluation = store.evaluations.claim("worker-new/evaluations")
    assert evaluation
    assert (evaluation.id, evaluation.attempts) == (f"evaluation-of-version-{version}", 1)
    batch = store.batches.claim("worker-new/batches")  # its lease has expired
    assert batch
    assert batch.id == f"batch-of-version-{version}"
    store.close()


def test_it_becomes_what_a_new_one_is(old: Path) -> None:
    for _ in range(2):  # opened again, it stays so
        Store(old).close()
        Store(old / "new").close()
        assert _tables(old) == _tables(old / "new")


def test_a_step_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _tables(old)
    last = max(migrations._STEPS)
    steps = {**migrations._STEPS, last: {**migrations._STEPS[last], "events": ["data"]}}
    monkeypatch.setattr(migrations, "_STEPS", steps)
    with pytest.raises(Exception, match="duplicate column name: data"):
        Store(old)
    assert _tables(old) == before


def test_tables_that_a_database_lacks_are_created(tmp_path: Path) -> None:
    """New tables need no step: a database of this version from before evals, which had none."""
    Store(tmp_path).close()
    Store(tmp_path / "new").close()
    with sqlite3.connect(tmp_path / "luthier.db") as connection:
        for table in ("evals", "eval_runs", "eval_items"):
            connection.execute(f"DROP TABLE {table}")
    connection.close()
    Store(tmp_path).close()
    assert _tables(tmp_path) == _tables(tmp_path / "new")
