"""Which server a command speaks to, and what is said when that goes wrong."""

import json
from pathlib import Path

import pytest
from command_line import Run, run
from fake_api import MODEL, FakeAPI

from luthier.cli.client import is_loopback

pytestmark = pytest.mark.services


def test_no_server_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    result = run("jobs", "--base-url", "http://127.0.0.1:9/v1")
    assert result.exit_code == 2
    assert "There is no server at http://127.0.0.1:9/v1." in result.stderr
    assert "luthier serve" in result.stderr
    assert result.stdout == ""


def test_an_unknown_id_is_the_servers_message_and_a_remedy(api: FakeAPI, luthier: Run) -> None:
    result = luthier("jobs", "show", "ftjob-none")
    assert result.exit_code == 2
    assert "There is no such thing" in result.stderr
    assert "luthier jobs" in result.stderr


def test_a_wrong_path_is_recognized(api: FakeAPI) -> None:
    result = run("models", "--base-url", api.base_url.replace("/v1", "/v2"))
    assert result.exit_code == 2
    assert "usually ends in /v1" in result.stderr


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b'{"error": {"message": "Bad key", "code": "invalid_api_key"}}', "--api-key"),
        (403, b'{"error": {"message": "Winding down", "code": "training_not_available"}}', "train on this machine"),
        (400, b'{"error": {"message": "Bad \\u001b[2Jrequest", "code": null}}', "Bad [2Jrequest"),
    ],
)
def test_errors_come_with_a_remedy(api: FakeAPI, luthier: Run, status: int, body: bytes, said: str) -> None:
    api.failures.append((status, body))
    result = luthier("models", "show", "m")
    assert said in result.stderr
    assert result.exit_code == 2


@pytest.mark.parametrize("command", ["models show m", "models", "jobs", "watch ftjob-1", "files show f"])
def test_a_web_page_is_not_the_api(api: FakeAPI, luthier: Run, command: str) -> None:
    api.failures += [(200, b"<html>a portal</html>")] * 2
    result = luthier(*command.split())
    assert result.exit_code == 2
    assert "does not serve this API" in result.stderr


def test_a_web_page_answers_nothing(api: FakeAPI, luthier: Run) -> None:
    api.failures.append((200, b"<html>a portal</html>"))
    result = luthier("chat", "m", "Hi")
    assert result.exit_code == 2
    assert "empty stream" in result.stderr


def test_errors_in_chinese(luthier: Run) -> None:
    assert "错误：" in luthier("jobs", "show", "ftjob-none", "--lang", "zh").stderr


def test_an_address_may_be_short_and_proxies_are_for_other_machines(
    api: FakeAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    result = run("models", "--base-url", api.base_url.removeprefix("http://").removesuffix("/v1"))
    assert MODEL in result.stdout


@pytest.mark.parametrize("address", ["https://api.example.com/v1", "ftp://127.0.0.1/v1", "http://"])
def test_unusable_addresses(address: str) -> None:
    assert run("jobs", "--base-url", address).exit_code == 2


def test_no_address_means_the_data_folder(api: FakeAPI, embedded: list[Path | None]) -> None:
    assert run("models").exit_code == 0
    assert run("models", "--data", "here").exit_code == 0
    assert embedded == [None, Path("here")]


def test_what_is_typed_wins_over_the_environment(
    api: FakeAPI, embedded: list[Path | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert run("models", "--data", "here").exit_code == 0
    monkeypatch.setenv("LUTHIER_DATA", "there")
    assert run("models", "--base-url", api.base_url).exit_code == 0
    assert embedded == [Path("here")]


def test_loopback() -> None:
    assert is_loopback("http://localhost:8000/v1")
    assert is_loopback("http://[::1]:8000/v1")
    assert not is_loopback("https://localhost.example.com/v1")


def test_errors_of_the_api_as_json_and_in_chinese(api: FakeAPI, luthier: Run) -> None:
    message = "Invalid 'hyperparameters.n_epochs': integer above maximum value."
    error = {"message": message, "code": "integer_above_max_value", "param": "hyperparameters.n_epochs", "type": "t"}
    api.failures += [(400, json.dumps({"error": error}).encode())] * 2
    sent = json.loads(luthier("models", "show", "m", "--json").stdout)["error"]
    assert sent["status"] == 400
    assert {key: sent[key] for key in error} == error
    chinese = luthier("models", "show", "m", "--lang", "zh").stderr
    assert f"请求无效（hyperparameters.n_epochs）。服务器的原话：{message}" in chinese


def test_a_service_that_lists_models_for_every_path(
    api: FakeAPI, luthier: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "jobs_route", api.models_route)
    result = luthier("jobs")
    assert result.exit_code == 2
    assert "does not list objects of the kind fine_tuning.job" in result.stderr
    assert result.stdout == ""
