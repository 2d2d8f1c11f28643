"""A stand-in for both hubs: their documented addresses over HTTP, on files that a test puts there."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Hub:
    """`files` by repository and path. `break_after`: a download ends after so many bytes, as often as it says."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    token: str = ""
    commit: str = "c0ffee" * 7
    breaks: int = 0
    break_after: int = 1000
    spoilt: set[str] = field(default_factory=set)
    ranges: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    state: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        self.state.asked.append(path)
        if match := re.fullmatch(r"/api/models/(.+?)/revision/(.+)", path):
            self._listing(match[1])
        elif match := re.fullmatch(r"/(.+?/.+?)/resolve/(.+?)/(.+)", path):
            self._file(match[1], match[3])
        elif match := re.fullmatch(r"/api/v1/models/(.+?/.+?)/repo/files", path):
            self._model_scope_listing(match[1])
        elif match := re.fullmatch(r"/api/v1/models/(.+?/.+?)/repo", path):
            self._file(match[1], query["FilePath"][0])
        else:
            self._answer(404, b"{}")

    def _allowed(self, repository: str) -> bool:
        if repository not in self.state.files:  # the hub does not say whether it is private or is not there
            self._answer(401, b"{}", {"x-error-code": "RepoNotFound"})
        elif repository in self.state.gated and self.headers.get("authorization") != f"Bearer {self.state.token}":
            self._answer(403, b"{}", {"x-error-code": "GatedRepo"})
        else:
            return True
        return False

    def _listing(self, repository: str) -> None:
        if not self._allowed(repository):
            return
        siblings = []
        for path, content in self.state.files[repository].items():
            if path.endswith((".safetensors", ".gguf", ".bin")):
                about = {"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}}
            else:
                about = {"blobId": git_sha1(content)}
            siblings.append({"rfilename": path, "size": len(content), **about})
        body = {"id": repository, "sha": self.state.commit, "siblings": siblings, "cardData": {"license": "apache-2.0"}}
        self._answer(200, json.dumps(body).encode())

    def _model_scope_listing(self, repository: str) -> None:
        if repository not in self.state.files:
            self._answer(404, json.dumps({"Code": 10010205001, "Message": "not found", "Success": False}).encode())
            return
        files = [{"Path": "figures", "Type": "tree", "Size": 0, "Sha256": ""}]
        for path, content in self.state.files[repository].items():
            files.append(
                {"Path": path, "Type": "blob", "Size": len(content), "Sha256": hashlib.sha256(content).hexdigest()}
            )
        self._answer(200, json.dumps({"Code": 200, "Success": True, "Data": {"Files": files}}).encode())

    def _file(self, repository: str, path: str) -> None:
        if not self._allowed(repository):
            return
        content = self.state.files[repository][path]
        if path in self.state.spoilt:
            content = content[::-1]
        start = 0
        if value := self.headers.get("range"):
            self.state.ranges.append(value)
            start = int(value.removeprefix("bytes=").rstrip("-"))
        sent = content[start:]
        self.send_response(206 if value else 200)
        self.send_header("content-length", str(len(sent)))
        self.end_headers()
        if self.state.breaks and len(sent) > self.state.break_after:
            self.state.breaks -= 1
            self.wfile.write(sent[: self.state.break_after])
            self.close_connection = True
        else:
            self.wfile.write(sent)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
