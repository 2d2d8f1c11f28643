"""`luthier store move`: what is refused. `tests/cluster/test_database_move.py` moves a database."""

from pathlib import Path

import pytest
from command_line import Run

from luthier.store import Store

pytestmark = pytest.mark.services
URL = "postgresql://nowhere.invalid/luthier"


@pytest.mark.parametrize("flags", [(), ("--to", URL, "--from", URL)])
def test_one_direction_is_named(luthier: Run, flags: tuple[str, ...]) -> None:
    result = luthier("store", "move", *flags)
    assert result.exit_code == 2
    assert "either --to or --from" in result.stderr


def test_a_folder_without_a_database(luthier: Run, tmp_path: Path) -> None:
    assert "没有 Luthier 的数据库" in luthier("store", "move", "--to", URL, "--data", tmp_path, "--lang", "zh").stderr


def test_what_is_there_is_not_overwritten(luthier: Run, tmp_path: Path) -> None:
    store = Store(tmp_path)
    result = luthier("store", "move", "--from", URL, "--data", tmp_path)
    assert "is already a database" in result.stderr
    worker = store.workers.register()
    assert "1 workers are running on" in luthier("store", "move", "--to", URL, "--data", tmp_path).stderr
    store.workers.unregister(worker)
    store.close()


def test_an_address_that_is_none(luthier: Run, tmp_path: Path) -> None:
    Store(tmp_path).close()
    assert "not a PostgreSQL URL" in luthier("store", "move", "--to", "mysql://x/y", "--data", tmp_path).stderr
    assert (tmp_path / "luthier.db").exists()
