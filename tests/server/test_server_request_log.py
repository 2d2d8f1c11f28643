"""The log of the server: a line per request, a line per change of a job, and what its first lines say."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.responses import Response
from starlette.types import ASGIApp

from luthier.cli.serve import _first_lines
from luthier.server.http.auth import INTERNAL_CALLER
from luthier.server.middleware.request_log import RequestLog
from luthier.settings import Settings
from luthier.store import Event, Store

JOB = {"model": "gpt-4o-mini", "base": "tiny", "training_file": "file-1", "seed": 1, "integrations": []}
JOB["method"] = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}


def ask(app: ASGIApp, path: str = "/v1/models", **scope: Any) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(_: Any) -> None: ...

    about = {"type": "http", "method": "GET", "path": path, "client": ("10.0.0.7", 5), "headers": []}
    asyncio.run(app(about | {"query_string": b"key=secret"} | scope, receive, send))


@pytest.mark.parametrize("path", ["/v1/models", "/v1/files/\nfake line"])
def test_a_line_per_request_without_its_query(caplog: pytest.LogCaptureFixture, path: str) -> None:
    with caplog.at_level(logging.INFO, "luthier"):
        ask(RequestLog(Response(status_code=404)), path)
    (record,) = caplog.records
    escaped = path.replace("\n", "\\n")
    assert record.message.startswith(f"10.0.0.7 GET {escaped} 404 ")


@pytest.mark.parametrize("scope", [{"path": "/health"}, {INTERNAL_CALLER: None}])
def test_probes_and_batches_are_not_logged(caplog: pytest.LogCaptureFixture, scope: dict[str, Any]) -> None:
    with caplog.at_level(logging.INFO, "luthier"):
        ask(RequestLog(Response()), **scope)
    assert not caplog.records


def test_a_request_that_breaks_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.INFO, "luthier"), pytest.raises(ZeroDivisionError):
        ask(RequestLog(broken))
    assert "GET /v1/models - " in caplog.text


def test_each_change_of_a_job_is_logged(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    store = Store(tmp_path)
    with caplog.at_level(logging.INFO, "luthier"):
        job = store.jobs.create(**JOB)
        store.jobs.transition(job.id, ("validating_files",), "queued", Event("Files validated"))
        store.jobs.transition(job.id, ("running",), "succeeded", Event("not this one"))
    store.close()
    assert [record.message for record in caplog.records] == [
        f"{job.id} is created: model gpt-4o-mini, training file file-1",
        f"{job.id} is queued: Files validated",
    ]


def test_the_first_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(
        engine="echo", aliases={"gpt-4o": "upstream:gpt-4o"}, worker=False,
        api_keys=[SecretStr("proj_a=one"), SecretStr("two")],
    )  # fmt: skip
    text = "\n".join(_first_lines("http://127.0.0.1:8000/v1", tmp_path, "house-model", settings))
    for part in ("Luthier 0", "8000/v1", str(tmp_path), "house-model; engine: echo", "gpt-4o → upstream:gpt-4o"):
        assert part in text
    assert "API keys: 2; projects: proj_a" in text
    assert "two" not in text
    assert "luthier worker" in text
