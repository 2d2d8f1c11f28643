"""The target `requests`: any method, path, header and body at the whole application, without a socket."""

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from fastapi.routing import APIRoute

from luthier.catalogue import Catalogue
from luthier.server import app as application
from luthier.server import create_app
from luthier.server.http import openapi
from luthier.settings import Settings
from luthier.store import Store
from templates import REASONS, write_base

_METHODS = ("GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS")
_UNAVAILABLE = (501, 503)  # refusals that say why: no such engine, no embedding model


_KEY = "sk-fuzz"
MODEL = "gpt-4o-mini"
_EXAMPLE = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
_REFRESH_AFTER = 300  # requests; those that are deleted by then are made anew


class Application:
    """With the echo engine, and no worker: jobs and batches stay queued. `options`: further settings.

    `$file`, `$job` and so on stand for the ids of objects that exist. It has a key: on a server without one, the first
    key that is created would shut out every request after it.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        self.folder = folder
        base = write_base(folder / "base", REASONS)
        (base / "config.json").write_text(json.dumps({"vocab_size": 300, "max_position_embeddings": 512}))
        fixed = {"api_keys": _KEY, "engine": "echo", "webhook_hosts": "localhost", "default_max_tokens": 8}
        settings = Settings(data=folder / "data", base=str(base), **{**fixed, **options})
        self._store = Store(settings.data)
        self._app = create_app(settings, self._store, Catalogue(folder / "cache"))
        self._loop = asyncio.new_event_loop()
        self._lifespan = self._app.router.lifespan_context(self._app)
        self._loop.run_until_complete(self._lifespan.__aenter__())
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=True)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)

        self._ids: dict[str, str] = {}
        self._sent = 0

    def send(self, method: str, url: str, **options: Any) -> httpx.Response:
        options["headers"] = {"authorization": f"Bearer {_KEY}", **options.get("headers", {})}
        return self._loop.run_until_complete(self._client.request(method, url, **options))

    def routes(self) -> list[APIRoute]:
        """Of all resources."""
        routers = [resource.router for resource in application._RESOURCES]
        return [route for router in routers for route in router.routes if isinstance(route, APIRoute)]

    def close(self) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._lifespan.__aexit__(None, None, None))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._store.close()

    def with_ids(self, data: bytes) -> bytes:
        if self._sent % _REFRESH_AFTER == 0:
            self._ids = self._create_objects()
        self._sent += 1
        for name, value in self._ids.items():
            data = data.replace(f"${name}".encode(), value.encode())
        return data

    def _create(self, path: str, **options: Any) -> str:
        response = self.send("POST", path, **options)
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    def _create_objects(self) -> dict[str, str]:
        def create(path: str, **body: Any) -> str:
            return self._create(path, json=body)

        content = json.dumps(_EXAMPLE).encode() + b"\n"
        file, batch_file = (
            self._create("/v1/files", files={"file": ("a.jsonl", content)}, data={"purpose": purpose})
            for purpose in ("fine-tune", "batch")
        )
        question = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "q"}], "store": True}
        hook = {"name": "n", "url": "http://localhost:9/", "event_types": ["batch.failed"]}
        batch = {"input_file_id": batch_file, "endpoint": "/v1/embeddings", "completion_window": "24h"}
        upload = {"filename": "a", "purpose": "assistants", "mime_type": "text/plain", "bytes": 4}
        return {
            "file": file,
            "job": create("/v1/fine_tuning/jobs", model=MODEL, training_file=file),
            "upload": create("/v1/uploads", **upload),
            "batch": create("/v1/batches", **batch),
            "response": create("/v1/responses", model=MODEL, input="q", max_output_tokens=2),
            "conversation": create("/v1/conversations"),
            "completion": create("/v1/chat/completions", **question),
            "evaluation": create("/v1/evaluations", model=MODEL, validation_file=file),
            "endpoint": self._endpoint(hook),
        }

    def _endpoint(self, hook: dict[str, Any]) -> str:
        """The newest: there may be as many as a project can have."""
        response = self.send("POST", "/v1/webhook_endpoints", json=hook)
        if response.status_code != 200:
            response = self.send("GET", "/v1/webhook_endpoints")
            return str(response.json()["data"][0]["id"])
        return str(response.json()["id"])


@cache
def _application(folder: Path) -> Application:
    """The document of the API, which takes longest, is made with it."""
    target = Application(folder)
    target.send("GET", openapi.PATH)
    return target


def requests(data: bytes, folder: Path) -> None:
    """`data`: an object with method, path, query, headers, and body (JSON), text (raw) or file."""
    target = _application(folder)
    try:
        fields = json.loads(target.with_ids(data))
    except (ValueError, RecursionError):
        fields = {"method": "POST", "path": "/v1/chat/completions", "text": data.decode("utf-8", "replace")}
    options = _options(fields) if isinstance(fields, dict) else None
    if options is None:
        return
    response = target.send(**options)
    status = response.status_code
    assert status < 500 or status in _UNAVAILABLE, f"{status} {response.text[:500]}"
    if status >= 400 and options["method"] != "HEAD" and response.headers.get("content-type") == "application/json":
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}, response.text[:500]


def _options(fields: dict[str, Any]) -> dict[str, Any] | None:
    """The request as httpx takes it; None for what no client can send."""
    method, path = fields.get("method", "GET"), fields.get("path", "/v1/models")
    if method not in _METHODS or not isinstance(path, str) or not path.startswith("/"):
        return None
    # Whole, since httpx takes what follows two slashes for a host.
    options: dict[str, Any] = {"method": method, "url": f"http://localhost{path}"}
    headers = fields.get("headers")
    options["headers"] = {} if not isinstance(headers, dict) else {
        name: value for name, value in headers.items() if isinstance(value, str) and _is_header(name, value)
    }  # fmt: skip
    if "file" in fields:
        name = fields.get("name")
        content = str(fields["file"]).encode("utf-8", "replace")
        options["files"] = {"file": (name if isinstance(name, str) else "a.jsonl", content)}
        form = fields.get("form")
        options["data"] = {key: str(value) for key, value in form.items()} if isinstance(form, dict) else {}
    elif "body" in fields:
        text = json.dumps(fields["body"]).encode("utf-8", "surrogatepass")
        options |= {"content": text, "headers": {"content-type": "application/json", **options["headers"]}}
    elif "text" in fields:
        options["content"] = str(fields["text"]).encode("utf-8", "replace")
    try:
        httpx.Request(**options)
    except (httpx.InvalidURL, UnicodeError, TypeError, ValueError):
        return None
    return options


def _is_header(name: str, value: str) -> bool:
    return name.isascii() and value.isascii() and name.replace("-", "").isalnum() and value.isprintable()
