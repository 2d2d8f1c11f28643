"""`luthier jobs rename`, `delete` and `groups` against a server's answers."""

import json
from typing import Any

import pytest
from command_line import Run
from fake_api import FakeAPI

pytestmark = pytest.mark.services  # the client asks the system for its name
GROUPS = {
    "by": "team",
    "keys": ["team", "purpose"],
    "data": [
        {"value": "red", "jobs": 3, "by_status": {"succeeded": 2, "failed": 1}},
        {"value": None, "jobs": 1, "by_status": {"queued": 1}},
    ],
}


@pytest.fixture(name="sent")
def _sent(api: FakeAPI) -> list[str]:
    """Requests to a server that renames, deletes and groups."""
    lines: list[str] = []

    def answer(method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        lines.append(f"{method} {'/'.join(rest)} {json.dumps(query)} {json.dumps(body)}")
        if method == "GET":
            return GROUPS
        return {"id": rest[1], "deleted": True, "models": ["ft:a"]} if method == "DELETE" else {"id": rest[1], **body}

    api.luthier_route = answer  # type: ignore[method-assign]
    return lines


def test_a_job_gets_a_name_and_loses_it(luthier: Run, sent: list[str]) -> None:
    assert "3 epochs" in luthier("jobs", "rename", "ftjob-1", "3 epochs").stderr
    assert luthier("jobs", "rename", "ftjob-1", " ").exit_code == 0
    assert sent == ['POST jobs/ftjob-1 {} {"name": "3 epochs"}', 'POST jobs/ftjob-1 {} {"name": null}']


def test_models_are_deleted_with_a_job_only_where_that_is_said(luthier: Run, sent: list[str]) -> None:
    assert "1 model" in luthier("jobs", "delete", "ftjob-1", "--models").stderr
    luthier("jobs", "delete", "ftjob-1")
    assert ['"true"' in line for line in sent] == [True, False]


def test_groups_as_a_table(luthier: Run, sent: list[str]) -> None:
    lines = luthier("jobs", "groups", "team", "--lang", "zh").stdout.splitlines()
    assert lines[1].split() == ["red", "3", "1", "失败,", "2", "成功"]
    assert "（无）" in lines[2]
    assert "purpose" in luthier("jobs", "groups").stdout
    assert json.loads(luthier("jobs", "--json", "groups", "team").stdout) == GROUPS
