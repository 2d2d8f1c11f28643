"""Databases of earlier versions: nothing is lost, and they become what a new one is."""

import sqlite3
from pathlib import Path

import pytest

from luthier.store import Store, migrations
from luthier.types.projects import DEFAULT_PROJECT

MODEL = "ft:gpt-4o-mini-2024-07-18:personal::00000001"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data folder whose database has schema version 1."""
    with sqlite3.connect(tmp_path / "luthier.db") as connection:
        connection.executescript((Path(__file__).parent / "version_1.sql").read_text(encoding="utf-8"))
    connection.close()
    return tmp_path


def _tables(folder: Path) -> dict[str, set[tuple[object, ...]]]:
    """Of each table its columns (name, type, not null, default, key), in any order; indexes as tables of theirs."""
    with sqlite3.connect(folder / "luthier.db") as connection:
        names = connection.execute("SELECT type, name FROM sqlite_master").fetchall()
        pragma = {"table": "table_info", "index": "index_info"}
        found = {
            name: {tuple(row[1:]) for row in connection.execute(f"PRAGMA {pragma[kind]}('{name}')")}
            for kind, name in names
        }
        found["schema rows"] = set(connection.execute("SELECT version FROM schema").fetchall())
    connection.close()
    return found


def test_an_old_database_keeps_what_it_holds(old: Path) -> None:
    store = Store(old)
    for seen in (store, store.within(DEFAULT_PROJECT)):
        assert seen.files.retrieve("file-of-version-1").filename == "a.jsonl"
        assert seen.jobs.retrieve("ftjob-of-version-1").metadata == {"team": "a"}
        assert len(seen.jobs.events("ftjob-of-version-1", limit=9, after=None).data) == 2
        assert seen.jobs.checkpoints("ftjob-of-version-1", limit=9, after=None).data[0].step_number == 1
        assert [model.id for model in seen.models.list()] == [MODEL]
    assert store.within("proj_other").models.list() == []
    store.close()


def test_it_becomes_what_a_new_one_is(old: Path) -> None:
    for _ in range(2):  # opened again, it stays so
        Store(old).close()
        Store(old / "new").close()
        assert _tables(old) == _tables(old / "new")


def test_a_step_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _tables(old)
    steps = {**migrations._STEPS, 1: {**migrations._STEPS[1], "events": ["job_id TEXT"]}}
    monkeypatch.setattr(migrations, "_STEPS", steps)
    with pytest.raises(Exception, match="duplicate column name: job_id"):
        Store(old)
    assert _tables(old) == before
