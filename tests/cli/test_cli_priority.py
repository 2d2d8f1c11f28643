"""`luthier jobs priority` against a server's answers."""

import json
from typing import Any

import pytest
from command_line import Run
from fake_api import FakeAPI

pytestmark = pytest.mark.services  # the client asks the system for its name


@pytest.fixture(name="sent")
def _sent(api: FakeAPI) -> list[tuple[str, Any]]:
    """Requests to a server on which two jobs come first."""
    requests: list[tuple[str, Any]] = []

    def answer(method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        requests.append((f"{method} {'/'.join(rest)}", body))
        return {"id": "ftjob-1", "queue": {"ahead": 2, "estimated_start": None}}

    api.luthier_route = answer  # type: ignore[method-assign]
    return requests


@pytest.mark.parametrize("priority", ["5", "-5", "-10", "0"])
def test_a_priority_is_sent_and_the_place_is_shown(luthier: Run, sent: list[tuple[str, Any]], priority: str) -> None:
    result = luthier("jobs", "priority", "ftjob-1", priority)
    assert sent == [("POST jobs/ftjob-1/priority", {"priority": int(priority)})]
    assert f"priority {priority}, 2 jobs ahead" in result.stderr
    assert (
        f"优先级 {priority}，前面还有 2 个任务"
        in luthier("jobs", "priority", "ftjob-1", priority, "--lang", "zh").stderr
    )
    assert json.loads(luthier("jobs", "priority", "ftjob-1", priority, "--json").stdout)["queue"]["ahead"] == 2


@pytest.mark.parametrize("wrong", ["11", "-11", "high", "--high"])
def test_anything_else_is_refused(luthier: Run, sent: list[tuple[str, Any]], wrong: str) -> None:
    assert luthier("jobs", "priority", "ftjob-1", wrong).exit_code == 2
    assert not sent
