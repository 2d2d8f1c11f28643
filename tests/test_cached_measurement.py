"""Measurements that decide how a CPU computes: kept, so that runs do not differ."""

import io
import json
import logging
from pathlib import Path

import pytest

from luthier.native import cached_measurement as module
from luthier.native.cached_measurement import cached_measurement, read_measurement


def _never() -> float:
    raise AssertionError("measured again")


def test_it_is_measured_once_with_date_and_cpu(tmp_path: Path) -> None:
    assert read_measurement(tmp_path, "rate") is None
    assert cached_measurement(tmp_path, "rate", lambda: 1.5) == 1.5
    assert read_measurement(tmp_path, "rate") == cached_measurement(tmp_path, "rate", _never) == 1.5
    assert cached_measurement(tmp_path, "another", lambda: 2.5) == 2.5
    (document,) = (json.loads(path.read_text()) for path in (tmp_path / "measured").glob("rate-*.json"))
    assert document["measured_at"]
    assert document["cpu"]


def test_another_cpu_or_tier_is_measured_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_measurement(tmp_path, "rate", lambda: 1.5)
    with monkeypatch.context() as patch:
        patch.setattr(module, "cpu_tier", lambda: "a lower tier")
        assert cached_measurement(tmp_path, "rate", lambda: 0.5) == 0.5
    monkeypatch.setattr(module, "cpu_description", lambda: ["model name: another"])
    assert cached_measurement(tmp_path, "rate", lambda: 0.7) == 0.7


def test_the_first_of_several_processes_counts(tmp_path: Path) -> None:
    def measured_while_another_was_faster() -> float:
        cached_measurement(tmp_path, "rate", lambda: 1.5)
        return 9.0

    assert cached_measurement(tmp_path, "rate", measured_while_another_was_faster) == 1.5


@pytest.mark.parametrize("content", ["", "{", "[]", '{"value": "high"}', "{}"])
def test_a_damaged_file_is_measured_again(content: str, tmp_path: Path) -> None:
    cached_measurement(tmp_path, "rate", lambda: 1.5)
    (path,) = (tmp_path / "measured").iterdir()
    path.write_text(content)
    assert cached_measurement(tmp_path, "rate", lambda: 2.5) == 2.5
    assert cached_measurement(tmp_path, "rate", _never) == 2.5


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(module._log, "handlers", [logging.StreamHandler(log)])
    cache = tmp_path / "cache"
    cache.write_text("no folder")
    assert cached_measurement(cache, "rate", lambda: 1.5) == 1.5
    assert "cannot be kept" in log.getvalue()
