"""Rates in the cache folder, which servers and commands share."""

from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from luthier.catalogue import rates
from luthier.catalogue.rates import Rate, add_rate, read_rates


def test_a_rate_is_added_to_those_that_other_processes_add_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read and written under one lock."""
    locked, read_file = [], rates._read

    def observed(cache: Path) -> dict[str, Any]:
        try:
            FileLock(tmp_path / "new" / "rates.json.lock").acquire(timeout=0).lock.release()
        except Timeout:
            locked.append(cache)
        return read_file(cache)

    with monkeypatch.context() as patch:
        patch.setattr(rates, "_read", observed)
        for steps in (5, 6):
            add_rate(tmp_path / "new", "key", Rate(1.0, steps, 0, None, "job"))
    assert len(locked) == 4
    assert [rate.steps for rate in read_rates(tmp_path / "new", "key")] == [5, 6]
