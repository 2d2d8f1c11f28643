"""The crash test in short; `make crashtest` runs it in full."""

from dataclasses import replace
from pathlib import Path

import pytest

from crash.run import Outcome, Plan, run
from postgres_server import postgres_or_skip

_PLAN = Plan(seed=1, kills=4, fresh=0, max_uptime_s=1.5, pause_s=0.1, epochs=1)


def _require_all(outcome: Outcome) -> None:
    assert outcome.holds, outcome.report()
    assert outcome.findings.acknowledged["job"]


def test_nothing_acknowledged_is_lost_or_doubled(tiny_base: Path, tmp_path: Path) -> None:
    _require_all(run(_PLAN, tmp_path, tiny_base))


@pytest.mark.postgres
def test_nor_when_postgresql_dies_too(tiny_base: Path, tmp_path: Path) -> None:
    with postgres_or_skip() as postgres:
        outcome = run(replace(_PLAN, kills=10), tmp_path, tiny_base, postgres)
    _require_all(outcome)
    assert outcome.kills["databases"]
