"""Classes of vulnerability, as in test_cve_classes.py, that show in requests to a whole server, without a socket."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from fuzz.application import MODEL, Application

_BAIT = "a text that no response may contain"
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5E"
    "rkJggg=="
)


@pytest.fixture(name="application", scope="module")
def _application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """With a key, for pages of all origins; a file that belongs to nobody lies beside its data folder."""
    folder = tmp_path_factory.mktemp("a") / "b" / "application"
    folder.mkdir(parents=True)
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": _BAIT}]
    (folder / "bait.jsonl").write_text((json.dumps({"messages": messages}) + "\n") * 20)
    application = Application(folder, cors_origins="*")
    yield application
    application.close()


def test_cve_2026_27482_a_route_without_a_key(application: Application) -> None:
    open_paths = {"/", "/dashboard/{name:path}"}
    routes = [(method, route.path) for route in application.routes() for method in sorted(route.methods)]
    assert len(routes) > 100
    statuses = {
        (method, path): application.send(
            method, re.sub(r"\{[^}]*\}", "x", path), headers={"authorization": "Bearer sk-fuzz-2"}
        ).status_code
        for method, path in routes
    }
    open_routes = {route for route, status in statuses.items() if status != 401}
    assert {path for _, path in open_routes} <= open_paths
    assert {method for method, _ in open_routes} <= {"GET", "HEAD"}


def test_llama_factory_any_origin_with_credentials(application: Application) -> None:
    """A page may be let in, but a browser must not send along what it has of another user."""
    origin = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for method in ("GET", "OPTIONS"):
        response = application.send(method, "/v1/models", headers=origin)
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers


def _paths_to(bait: Path) -> list[str]:
    """Names under which code that joins them to a folder, or opens them, would find the bait."""
    climbs = [f"{'../' * levels}{bait.name}" for levels in range(1, 5)]
    return [
        *climbs,
        *(name.replace("/", "\\") for name in climbs),
        str(bait),
        f"file://{bait}",
        f"files/../../{bait.name}",
    ]


def test_localai_10422_and_opea_paths_in_requests(application: Application) -> None:
    """A name in a request is looked up, and never a path: nothing outside of the data folder is read or written."""
    folder = application.folder
    outside = {path for path in folder.parents[1].rglob("*") if folder / "data" not in path.parents}
    content = (folder / "bait.jsonl").read_bytes().replace(_BAIT.encode(), b"mine")
    for name in _paths_to(folder / "bait.jsonl"):
        upload = {"files": {"file": (name, content)}, "data": {"purpose": "fine-tune"}}
        assert application.send("POST", "/v1/files", **upload).status_code in (200, 400)
        job = {"model": MODEL, "training_file": name}
        assert application.send("POST", "/v1/fine_tuning/jobs", json=job).status_code in (400, 404)
        job = {"model": name, "training_file": application.send("GET", "/v1/files").json()["data"][0]["id"]}
        assert application.send("POST", "/v1/fine_tuning/jobs", json=job).status_code in (400, 404)
        batch = {"input_file_id": name, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        assert application.send("POST", "/v1/batches", json=batch).status_code in (400, 404)
        chat = {"model": name, "messages": [{"role": "user", "content": "q"}]}
        assert application.send("POST", "/v1/chat/completions", json=chat).status_code in (400, 404)
        for path in (f"/v1/files/{quote(name, safe='')}/content", f"/dashboard/{quote(name, safe='')}", f"/{name}"):
            response = application.send("GET", path)
            assert (response.status_code, _BAIT in response.text) == (404, False)
    assert {path for path in folder.parents[1].rglob("*") if folder / "data" not in path.parents} == outside


@pytest.fixture(name="connections")
def _connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is looked up or connected to meanwhile; all of it fails."""
    attempts: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        attempts.append(arguments)
        raise OSError("no connection in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "https://evil.example/x.png", "file://BAIT", "BAIT"])
def test_cve_2025_61784_and_2025_6242_addresses_in_requests(
    application: Application, connections: list[Any], url: str
) -> None:
    """Images, files and tools of a request are not fetched, and no path is opened for them."""
    url = url.replace("BAIT", str(application.folder / "bait.jsonl"))
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "file", "file": {"file_data": url}}]
    inputs = [{"type": "input_image", "image_url": url}, {"type": "input_file", "file_url": url}]
    tool = {"type": "mcp", "server_label": "x", "server_url": url, "command": "touch x", "require_approval": "never"}
    requests: list[tuple[str, dict[str, Any]]] = [
        *(("chat/completions", {"messages": [{"role": "user", "content": [part]}]}) for part in parts),
        *(("responses", {"input": [{"role": "user", "content": [part]}]}) for part in inputs),
        ("responses", {"input": "q", "tools": [tool]}),
        ("webhook_endpoints", {"name": "n", "url": url, "event_types": ["batch.failed"]}),
    ]
    for path, body in requests:
        response = application.send("POST", f"/v1/{path}", json={"model": MODEL, **body})
        assert response.status_code in (400, 404), (path, response.text)
        assert _BAIT not in response.text
    assert connections == []


def test_cve_2026_22773_a_request_that_ends_the_server(application: Application) -> None:
    """What is legal on the wire and has no sense or no end is refused, and the next request is answered."""
    question = [{"role": "user", "content": "q"}]
    bodies: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PIXEL}}]}]},
        {"messages": question, "n": 10**9},
        {"messages": question, "max_tokens": 10**18},
        {"messages": question, "logit_bias": {"999999999": 1}},
        {"messages": question, "seed": 2**70},
    ]
    for body in bodies:
        assert application.send("POST", "/v1/chat/completions", json={"model": MODEL, **body}).status_code == 400, body
    answer = application.send("POST", "/v1/chat/completions", json={"model": MODEL, "messages": question})
    assert answer.status_code == 200
