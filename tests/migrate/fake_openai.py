"""A program that plays OpenAI over real HTTP, for one account: `fake_openai.py ACCOUNT.json LOG PORT_FILE`.

Lists come in pages of 20. Each billed request is one line in LOG, written before the answer is sent. The account's
`faults` are its bad days: see `Faults`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 20


@dataclass
class Faults:
    """`forbidden`: paths that answer 403 and which code; `off_after`: answers of a model until it is switched off."""

    rate_limit_every: int = 0
    retry_after_s: float = 0.05
    forbidden: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    off_after: dict[str, int] = field(default_factory=dict)
    cut_downloads_at: int = 0  # bytes after which the first download of each file is cut off
    ranges: bool = True
    no_inference: bool = False
    delay_s: float = 0.0
    rejected_parameters: list[str] = field(default_factory=list)


class Account:
    def __init__(self, document: dict[str, Any], log: Path) -> None:
        self.models, self.jobs = document.get("models", []), document.get("jobs", [])
        self.files: dict[str, dict[str, Any]] = document.get("files", {})
        self.contents: dict[str, str] = document.get("contents", {})
        self.events, self.checkpoints = document.get("events", {}), document.get("checkpoints", {})
        self.stored, self.batches = document.get("stored", []), document.get("batches", [])
        self.messages: dict[str, Any] = document.get("messages", {})
        self.projects: dict[str, Any] = document.get("projects", {})
        self.replies: dict[str, Any] = document.get("replies", {})  # last question -> message; others get a digest
        self.faults = Faults(**document.get("faults", {}))
        self.log, self.lock, self.counts = log, threading.Lock(), Counter[str]()

    def record(self, kind: str, **fields: Any) -> None:
        with self.lock, self.log.open("a") as log:
            log.write(json.dumps({"kind": kind, "at": time.time(), **fields}) + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    account: Account

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path).removeprefix("/v1"), parse_qs(parts.query)
        if not self._allowed(path):
            return
        self.account.record("get", path=path, project=self.headers.get("OpenAI-Project"))
        words = path.strip("/").split("/")
        account = self.account
        match words:
            case ["models"]:
                self._json({"object": "list", "data": account.models})
            case ["fine_tuning", "jobs"]:
                self._page(account.projects.get(self.headers.get("OpenAI-Project") or "", account.jobs), query)
            case ["fine_tuning", "jobs", job, "events"]:
                self._page(account.events.get(job, []), query)
            case ["fine_tuning", "jobs", job, "checkpoints"]:
                self._page(account.checkpoints.get(job, []), query)
            case ["files"]:
                self._page(list(account.files.values()), query)
            case ["files", file_id] if file_id in account.files:
                self._json(account.files[file_id])
            case ["files", file_id, "content"] if file_id in account.contents:
                self._content(file_id)
            case ["batches"]:
                self._page(account.batches, query)
            case ["chat", "completions"]:
                self._page(account.stored, query)
            case ["chat", "completions", completion, "messages"] if completion in account.messages:
                self._page(account.messages[completion], query)
            case _:
                self._error(404, f"No such object: {words[-1]}", "not_found")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = urlsplit(self.path).path.removeprefix("/v1")
        if not self._allowed(path):
            return
        if path not in ("/chat/completions", "/completions"):
            self._error(404, f"Unknown path {path}", "not_found")
            return
        self._inference(body)

    def _inference(self, body: dict[str, Any]) -> None:
        account, model = self.account, body["model"]
        faults = account.faults
        with account.lock:
            account.counts["requests"] += 1
            limited = faults.rate_limit_every and account.counts["requests"] % faults.rate_limit_every == 0
            served = account.counts[model]
            off = model in faults.off_after and served >= faults.off_after[model]
            names = any(entry["id"] == model for entry in account.models)
            rejected = next((name for name in faults.rejected_parameters if name in body), None)
            if not (limited or off or rejected or faults.no_inference) and names:
                account.counts[model] += 1
        if faults.no_inference:
            message = "You have insufficient permissions for this operation. Missing scopes: model.request."
            self._error(401, message, None)
        elif limited:
            account.record("limited")
            self._error(429, "Rate limit reached", "rate_limit_exceeded", {"Retry-After": str(faults.retry_after_s)})
        elif off or not names:
            account.record("off", model=model)
            self._error(404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found")
        elif rejected:
            self._error(400, f"Unsupported parameter: '{rejected}'.", "unsupported_parameter", param=rejected)
        else:
            self._answer(body)

    def _answer(self, body: dict[str, Any]) -> None:
        question = json.dumps([body["model"], body.get("messages", body.get("prompt")), body.get("tools")],
                              sort_keys=True)  # fmt: skip
        digest = hashlib.sha256(question.encode()).hexdigest()[:16]
        self.account.record("paid", model=body["model"], question=digest, tools="tools" in body)
        time.sleep(self.account.faults.delay_s)
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        if "prompt" in body:
            logprobs = {"tokens": ["answer"], "token_logprobs": [-0.1], "top_logprobs": [{}], "text_offset": [0]}
            choice = {"index": 0, "text": f"answer {digest}", "finish_reason": "stop", "logprobs": logprobs}
            self._json({"id": f"cmpl-{digest}", "object": "text_completion", "created": 1, "model": body["model"],
                        "choices": [choice], "usage": usage})  # fmt: skip
            return
        message: dict[str, Any] = {"role": "assistant", "content": f"answer {digest}", "refusal": None}
        if reply := self.account.replies.get(str(body["messages"][-1].get("content"))):
            message |= reply
        elif body.get("tools"):
            call = {"name": body["tools"][0]["function"]["name"], "arguments": "{}"}
            message |= {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": call}]}
        logprobs = {"content": [{"token": "answer", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
        self._json(
            {"id": f"chatcmpl-{digest}", "object": "chat.completion", "created": 1, "model": body["model"],
             "choices": [choice if body.get("logprobs") else {**choice, "logprobs": None}], "usage": usage}
        )  # fmt: skip

    def _allowed(self, path: str) -> bool:
        if self.headers.get("Authorization") == "Bearer wrong":
            self._error(401, "Incorrect API key provided.", "invalid_api_key")
            return False
        if path.startswith(tuple(self.account.faults.absent)):
            self._error(404, f"Invalid URL ({self.command} /v1{path})", None)
            return False
        for prefix, code in self.account.faults.forbidden.items():
            if path.startswith(prefix):
                self._error(403, f"Not available: {path}", code)
                return False
        return True

    def _page(self, entries: list[dict[str, Any]], query: dict[str, list[str]]) -> None:
        ids = [entry["id"] for entry in entries]
        after = query.get("after", [None])[0]
        start = ids.index(after) + 1 if after in ids else 0
        size = min(int(query.get("limit", ["20"])[0]), PAGE)
        page = entries[start : start + size]
        first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
        more = start + size < len(entries)
        self._json({"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more})

    def _content(self, file_id: str) -> None:
        content, faults = self.account.contents[file_id].encode(), self.account.faults
        start, status = 0, 200
        if faults.ranges and (value := self.headers.get("Range")):
            start, status = int(value.removeprefix("bytes=").removesuffix("-")), 206
        with self.account.lock:
            self.account.counts[file_id] += 1
            cut = faults.cut_downloads_at if self.account.counts[file_id] == 1 else 0
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if cut and start + cut < len(content):
            self.wfile.write(content[start : start + cut])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(content[start:])

    def _error(
        self, status: int, message: str, code: str | None, headers: dict[str, str] | None = None,
        param: str | None = None,
    ) -> None:  # fmt: skip
        body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
        self._json(body, status, headers)

    def _json(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed close their connections: nothing to report."""


def new_server(document: dict[str, Any], log: Path) -> Server:
    """On a free port, with a handler of its own, so that one process can play several accounts."""
    handler = type("AccountHandler", (Handler,), {"account": Account(document, log)})
    return Server(("127.0.0.1", 0), handler)


def main(account: str, log: str, port_file: str) -> None:
    server = new_server(json.loads(Path(account).read_text()), Path(log))
    partial = Path(port_file + ".part")
    partial.write_text(str(server.server_address[1]))
    partial.rename(port_file)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
