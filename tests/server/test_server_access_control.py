"""Access control, and the headers of every response."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from serving import Bare, bare_server, body_of

from luthier.runtime import LuthierServer

KEYS = "sk-first-key-0123456789,密钥"


@pytest.fixture(scope="module")
def locked(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A server with keys."""
    with bare_server(tmp_path_factory.mktemp("locked"), tiny_base, api_keys=KEYS) as running:
        yield running


def test_health(raw: httpx.Client) -> None:
    answer = raw.get(str(raw.base_url).replace("/v1/", "/health"))
    assert answer.json()["status"] == "ok"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("POST", "/chat/complete", 404),
        ("GET", "/chat/completions/extra/part", 404),
        ("DELETE", "/chat/completions", 405),
        ("PUT", "/files", 405),
        ("GET", "/fine_tuning/jobs/ftjob-x/cancel", 405),
    ],
)
def test_unknown_urls_and_methods(raw: httpx.Client, method: str, path: str, status: int) -> None:
    answer = raw.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert f"/v1{path}" in error["message"]
    assert method in error["message"]
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/files", "GET, POST"),
        ("PATCH", "/files/file-x", "GET, DELETE"),
        ("PUT", "/models/a/b", "GET, HEAD, DELETE"),
        ("POST", "/models", "GET, HEAD"),
        ("DELETE", "/chat/completions", "GET, POST"),
        ("PUT", "/conversations/conv_x", "GET, POST, DELETE"),
        ("GET", "/responses", "POST"),
        ("POST", "/../health", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_allowed_names_all_that_are(
    raw: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answer = raw.request(method, path)
    assert answer.status_code == 405
    assert answer.headers.get_list("allow") == [allowed]


def test_headers_of_every_answer(raw: httpx.Client, locked: Bare) -> None:
    """Successful responses, errors of a route and errors of the middleware, each with a request id of its own."""
    answers = [raw.get("/models"), raw.get("/models"), raw.get("/files/x"), raw.post("/chat/completions")]
    with locked.http() as http:
        answers.append(http.get("/models"))
    assert [answer.status_code for answer in answers] == [200, 200, 404, 400, 401]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    for answer in answers:
        assert re.fullmatch(r"req_\w{32}", answer.headers["x-request-id"])
        assert int(answer.headers["openai-processing-ms"]) >= 0
        assert answer.headers["openai-version"]


def test_the_right_key(locked: Bare) -> None:
    assert locked.client(api_key="sk-first-key-0123456789").models.list().data
    with locked.http() as http:
        for authorization in ("bearer sk-first-key-0123456789", "Bearer 密钥".encode()):
            assert http.get("/models", headers={"authorization": authorization}).status_code == 200


def test_a_wrong_key(locked: Bare) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        locked.client(api_key="sk-a-wrong-key-of-some-length").models.list()
    error = body_of(caught.value)
    assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")
    assert str(error["message"]).startswith("Incorrect API key provided: sk-****ngth.")
    assert "wrong-key" not in str(error["message"])
    assert caught.value.request_id


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Basic c2stZmlyc3Q6",
        "sk-first-key-0123456789",
        "Bearer sk-first-key-012345678",
        "Bearer sk-first-key-0123456789,密钥".encode(),
        "Bearer ÿþ".encode("latin-1"),
    ],
)
@pytest.mark.parametrize("path", ["/models", "/files/x/content", "/nope", "/health/", "/healthy"])
def test_nothing_without_a_key(locked: Bare, authorization: str | bytes | None, path: str) -> None:
    with locked.http() as http:
        answer = http.get(path, headers={"authorization": authorization} if authorization is not None else {})
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/health", "/ready"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_probes_send_no_key(locked: Bare, raw: httpx.Client, path: str, method: str) -> None:
    """Under any host name: Kubernetes sends the address of the pod."""
    own = str(raw.base_url).removesuffix("/v1/")
    for url in (locked.url, own):
        answer = httpx.request(method, url + path, headers={"host": "10.2.3.4:8000"})
        assert answer.status_code == 200
        assert answer.headers["x-request-id"]
    assert httpx.post(locked.url + path).status_code == 401


def test_a_browser_asks_before_it_reaches_a_private_network(
    tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cors")
    with bare_server(folder, tiny_base, api_keys=KEYS, cors_origins="https://chat.example") as running:
        ask = {"access-control-request-method": "POST", "access-control-request-private-network": "true"}
        url = f"{running.url}/v1/chat/completions"
        allowed = httpx.options(url, headers=ask | {"origin": "https://chat.example"})
        assert (allowed.status_code, allowed.headers["access-control-allow-private-network"]) == (200, "true")
        refused = httpx.options(url, headers=ask | {"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in refused.headers


def test_an_idle_connection_outlives_a_pollers_pause(server: LuthierServer) -> None:
    """The commonest pause between polls is five seconds."""
    host, port = httpx.URL(server.endpoint.base_url).host, httpx.URL(server.endpoint.base_url).port
    with socket.create_connection((host, port or 80), timeout=120) as line:
        line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not line.recv(4096).endswith(b"}"):
            pass
        line.settimeout(6)
        with pytest.raises(TimeoutError):
            line.recv(1)
        line.settimeout(120)
        line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in line.recv(4096)


@pytest.mark.parametrize("encoding", ["gzip", "BR", "deflate, gzip"])
def test_a_compressed_body_is_called_what_it_is(raw: httpx.Client, encoding: str) -> None:
    answer = raw.post("/chat/completions", content=b"\x1f\x8b", headers={"content-encoding": encoding})
    assert (answer.status_code, encoding.lower() in answer.json()["error"]["message"]) == (415, True)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::1", "@"])
def test_other_hosts_are_refused_without_keys(raw: httpx.Client, host: str) -> None:
    """DNS rebinding: a web page's host name resolves to this machine."""
    answer = raw.get("/models", headers={"host": host})
    assert answer.status_code in (400, 403)
    if answer.status_code == 403:
        assert "loopback" in answer.json()["error"]["message"]
        assert "--api-keys" in answer.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8000"])
def test_loopback_hosts(raw: httpx.Client, host: str) -> None:
    assert raw.get("/models", headers={"host": host}).status_code == 200


def test_with_keys_any_host_will_do(locked: Bare) -> None:
    headers = {"host": "models.example", "authorization": "Bearer sk-first-key-0123456789"}
    with locked.http() as http:
        assert http.get("/models", headers=headers).status_code == 200
        answer = http.get("/models", headers=headers | {"origin": "https://evil.example"})
        assert answer.status_code == 403


def status_of(base_url: str, target: str, *headers: str) -> int:
    """The status of a GET request with this request target, with `Host: localhost` unless another is given."""
    address = httpx.URL(base_url)
    head = [f"GET {target} HTTP/1.1", *(headers or ["Host: localhost"]), "Connection: close", "", ""]
    with socket.create_connection((address.host, address.port or 80), timeout=120) as line:
        line.sendall("\r\n".join(head).encode())
        return int(line.recv(100).split()[1])


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://127.0.0.1:8000/v1/models", 200),
        ("HTTP://LocalHost/v1/models?limit=1", 200),
        ("https://[::1]:8000/v1/models/tiny%2Fnone", 404),
        ("http://localhost/health", 200),
        ("http://localhost", 200),
        ("http://localhost?lang=zh", 200),
        ("http://localhost/v1/files/..%2f..%2fmodels", 404),
        ("http://evil.example/v1/models", 403),
        ("http://evil.example:80", 403),
        ("http://evil.example/dashboard/", 403),
        ("http://localhost@evil.example/v1/models", 404),
        ("http://evil.example@localhost/v1/models", 404),
        ("http:///v1/models", 404),
        ("http%3A//localhost/v1/models", 404),
        ("file://localhost/v1/models", 404),
        ("/http://localhost/v1/models", 404),
    ],
)
def test_a_target_in_absolute_form(raw: httpx.Client, target: str, status: int) -> None:
    """Clients of a forward proxy send it (RFC 9112, 3.2.2); its authority replaces the header Host."""
    assert status_of(str(raw.base_url), target) == status


def test_a_target_in_absolute_form_passes_every_check(raw: httpx.Client, locked: Bare) -> None:
    base_url, target = str(raw.base_url), "http://localhost/v1/models"
    assert status_of(base_url, target, "Host: evil.example") == 200
    assert status_of(base_url, target, "Host: localhost", "Origin: http://localhost") == 200
    assert status_of(base_url, target, "Host: evil.example", "Origin: http://evil.example") == 403
    assert status_of(locked.url, target) == 401
    assert status_of(locked.url, target, "Host: a", "Authorization: Bearer sk-first-key-0123456789") == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://[::1", "file://"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_origins_are_refused(raw: httpx.Client, origin: str, method: str) -> None:
    answer = raw.request(method, "/models", headers={"origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_the_own_origin(raw: httpx.Client) -> None:
    own = str(raw.base_url).removesuffix("/v1/")
    assert raw.get("/models", headers={"origin": own}).status_code == 200


def test_a_websocket_is_guarded_too(locked: Bare) -> None:
    """No route accepts websockets yet; a future one is protected by the middleware."""
    host, _, port = locked.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=120) as line:
        line.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 101 " not in line.recv(100)


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 50])
def test_odd_lengths(server: object, raw: httpx.Client, length: str) -> None:
    with socket.create_connection((raw.base_url.host, raw.base_url.port), timeout=120) as line:
        line.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        status = int(line.recv(100).split()[1])
    assert status in (400, 413)


def test_a_json_body_that_is_too_large(raw: httpx.Client) -> None:
    content = b'{"model": "' + b"x" * (33 * 1024 * 1024) + b'"}'
    for body in (content, iter([content])):  # with its length, and without
        answer = raw.post("/chat/completions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"
