"""The crash test in short; `make crashtest` runs it in full."""

from pathlib import Path

from crash.run import Plan, run


def test_nothing_acknowledged_is_lost_or_doubled(tiny_base: Path, tmp_path: Path) -> None:
    plan = Plan(seed=1, kills=4, fresh=0, max_uptime_s=1.5, pause_s=0.1, epochs=1)
    outcome = run(plan, tmp_path, tiny_base)
    assert outcome.holds, outcome.report()
    assert outcome.findings.acknowledged["job"]
