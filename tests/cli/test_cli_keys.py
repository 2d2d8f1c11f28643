"""`luthier keys` and `luthier audit` against a server's answers."""

import json
from typing import Any

import pytest
from command_line import Run
from fake_api import FakeAPI

pytestmark = pytest.mark.services  # the client asks the system for its name
KEY = {
    "id": "key_1", "name": "weather", "hint": "x1Yz", "project": None, "role": "reader", "status": "expired",
    "requests_per_minute": None, "tokens_per_minute": None, "max_jobs": 3, "max_bytes": 5 * 1024**3,
    "created_at": 1, "expires_at": 2, "revoked_at": None,
}  # fmt: skip
ENTRY = {
    "id": "audit_1", "created_at": 1, "key_id": None, "project": "proj_a", "client": "10.0.0.1",
    "action": "DELETE /v1/files/{file_id}", "path": "/v1/files/file-1", "request_id": "req_1",
}  # fmt: skip


@pytest.fixture(name="requests")
def _requests(api: FakeAPI) -> list[str]:
    """Requests to a server that has one key and one entry."""
    lines: list[str] = []

    def answer(method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        lines.append(f"{method} {'/'.join(rest)} {json.dumps(body)}")
        listed = {"data": [ENTRY if rest == ["audit"] else KEY]}
        return listed if method == "GET" else KEY | {"value": "sk-x", "is_first": True, "is_last": True}

    api.luthier_route = answer  # type: ignore[method-assign]
    return lines


def test_a_new_key_is_alone_on_stdout(luthier: Run, requests: list[str]) -> None:
    words = ("--role", "reader", "--project", "proj_a", "--expires", "90d", "--max-jobs", "3", "--max-bytes", "20gb")
    result = luthier("keys", "create", "weather", *words)
    assert (result.exit_code, result.stdout) == (0, "sk-x\n")
    assert "clients that send none get status 401" in result.stderr
    (line,) = requests
    assert line.startswith("POST keys {")
    body = json.loads(line.partition("keys ")[2])
    assert (body["role"], body["project"], body["expires_in_s"]) == ("reader", "proj_a", 90 * 24 * 3600)
    assert (body["max_jobs"], body["max_bytes"], body["tokens_per_minute"]) == (3, 20 * 1000**3, None)


def test_the_first_and_the_last_key_change_who_may_use_the_server(luthier: Run, requests: list[str]) -> None:
    assert "不带密钥的客户端会收到状态 401" in luthier("keys", "create", "x", "--lang", "zh").stderr
    assert "without a key, as an admin" in luthier("keys", "revoke", "key_1").stderr
    assert "以管理员身份" in luthier("keys", "revoke", "key_1", "--json", "--lang", "zh").stderr


@pytest.mark.parametrize("lifetime", ["90", "d", "-1d", "0d", "1w", "9999999d"])
def test_a_lifetime_is_a_number_and_a_unit(luthier: Run, requests: list[str], lifetime: str) -> None:
    result = luthier("keys", "create", "x", "--expires", lifetime)
    assert result.exit_code == 2
    assert "90d" in result.stderr
    assert not requests


@pytest.mark.parametrize("size", ["0", "-1GB", "GB", "1.5GB", "5PB", "1 GB"])
def test_a_size_is_a_number_and_a_unit(luthier: Run, requests: list[str], size: str) -> None:
    result = luthier("keys", "create", "x", "--max-bytes", size)
    assert result.exit_code == 2
    assert "500MB" in result.stderr
    assert not requests


@pytest.mark.parametrize(
    ("words", "sent_line"),
    [
        (("rotate", "key_1"), "POST keys/key_1/rotate"),
        (("revoke", "key_1"), "DELETE keys/key_1"),
        ((), "GET keys"),
    ],
)
def test_requests(luthier: Run, requests: list[str], words: tuple[str, ...], sent_line: str) -> None:
    assert luthier("keys", *words).exit_code == 0
    assert requests[0].startswith(sent_line)


def test_lists_in_both_languages(luthier: Run, requests: list[str]) -> None:
    assert "expired" in luthier("keys", "list").stdout
    chinese = luthier("keys", "list", "--lang", "zh").stdout
    assert "已过期" in chinese
    assert "只读" in chinese
    assert "3 jobs, 5.0 GiB" in luthier("keys", "list").stdout
    assert "DELETE /v1/files/file-1" in luthier("audit").stdout
    assert json.loads(luthier("audit", "--json").stdout)[0]["request_id"] == "req_1"
