"""OpenAI's API as far as the command line needs it: in memory, over real sockets, following a script.

A job moves one step along its script each time it is retrieved, and shows as many of its events as that step says.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

MODEL = "ft:gpt-3.5-turbo-0125:personal::abcd1234"
RESULTS = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.5,0.4,,\n2,1.25,0.6,1.5,0.55\n"
NO_ERROR = {"code": None, "message": None, "param": None}


def event(number: int, message: str, data: dict[str, Any] | None = None, level: str = "info") -> dict[str, Any]:
    return {
        "id": f"ftevent-{number}",
        "object": "fine_tuning.job.event",
        "created_at": 1_700_000_000 + number // 10,
        "level": level,
        "message": message,
        "type": "metrics" if data else "message",
        "data": data or {},
    }


def step_event(number: int, step: int, total: int) -> dict[str, Any]:
    data = {"step": step, "total_steps": total, "train_loss": 2.0 / step, "valid_loss": 3.0 / step}
    return event(number, f"Step {step}/{total}: training loss={2 / step:.2f}", data)


@dataclass
class Job:
    """`script`: (status, events shown) for each retrieve; the last step stays."""

    body: dict[str, Any]
    events: list[dict[str, Any]]
    script: list[tuple[str, int]]
    retrieved: int = 0

    def step(self) -> tuple[str, int]:
        return self.script[min(max(self.retrieved - 1, 0), len(self.script) - 1)]

    def shown(self) -> dict[str, Any]:
        status = self.step()[0]
        ends = {"fine_tuned_model": MODEL, "trained_tokens": 1234, "result_files": ["file-results"]}
        ends = ends if status == "succeeded" else {}
        error = {"code": "invalid_training_file", "message": "Line 3 is broken", "param": "training_file"}
        return self.body | ends | {"status": status, "error": error if status == "failed" else NO_ERROR}


def happy_script() -> tuple[list[dict[str, Any]], list[tuple[str, int]]]:
    events = [event(0, "Created fine-tuning job"), *(step_event(n, n, 4) for n in range(1, 5))]
    events.append(event(5, "The job has successfully completed"))
    return events, [("validating_files", 1), ("running", 3), ("succeeded", 6)]


@dataclass
class FakeAPI:
    """What the server holds, what it was asked, and what it shall do wrong."""

    files: dict[str, tuple[dict[str, Any], bytes]] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    failures: list[tuple[int, bytes]] = field(default_factory=list)
    answers: list[list[dict[str, Any]]] = field(default_factory=lambda: [[{"content": "Hel"}, {"content": "lo"}]])
    next_job: tuple[list[dict[str, Any]], list[tuple[str, int]]] = field(default_factory=happy_script)
    on_retrieve: Callable[[Job], None] = lambda job: None
    base_url: str = ""

    def bodies(self, path: str) -> list[Any]:
        return [body for method, target, body in self.requests if method == "POST" and target == path]

    def add_file(self, file_id: str, name: str, content: bytes) -> dict[str, Any]:
        about = {"id": file_id, "object": "file", "bytes": len(content), "created_at": 1_700_000_000, "filename": name}
        self.files[file_id] = (about | {"purpose": "fine-tune", "status": "processed"}, content)
        return self.files[file_id][0]

    def add_job(self, job_id: str, events: list[dict[str, Any]], script: list[tuple[str, int]], **body: Any) -> Job:
        about = {"id": job_id, "object": "fine_tuning.job", "created_at": 1_700_000_000, "model": "gpt-3.5-turbo-0125"}
        about |= {"organization_id": "org-1", "seed": 1, "hyperparameters": {"n_epochs": "auto"}, "result_files": []}
        about |= {"training_file": "file-1", "validation_file": None, "fine_tuned_model": None, "finished_at": None}
        self.jobs[job_id] = Job(about | {"trained_tokens": None} | body, events, script)
        return self.jobs[job_id]

    # One method per resource; each returns a body, or None for 404.

    def files_route(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if rest == ["from_completions"]:
            about = self.add_file("file-stored", body["filename"], json.dumps(body).encode())
            return {"file": about, "examples": 2, "skipped": {"cut_off": 1}}
        if method == "POST":
            return self.add_file(f"file-{len(self.files) + 1}", *body["file"])
        if not rest:
            return page([about for about, _ in self.files.values()])
        if rest[0] not in self.files:
            return None
        if method == "DELETE":
            del self.files[rest[0]]
            return {"id": rest[0], "object": "file", "deleted": True}
        return self.files[rest[0]][1 if rest[1:] == ["content"] else 0]

    def jobs_route(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if not rest:
            if method == "POST":
                return self.add_job("ftjob-new", *self.next_job, model=body["model"]).shown()
            return page([job.shown() for job in self.jobs.values()])
        job = self.jobs.get(rest[0])
        if job is None:
            return None
        if rest[1:] == ["events"]:
            return newest_first(job.events[: job.step()[1]], query)
        if rest[1:] == ["checkpoints"]:
            return page([checkpoint(job, 2), checkpoint(job, 1)])
        if method == "POST":
            job.script = [({"cancel": "cancelled", "pause": "paused", "resume": "queued"}[rest[1]], 0)]
        else:
            job.retrieved += 1
            self.on_retrieve(job)
        return job.shown()

    def models_route(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        model = {"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "me", "parent": "gpt-3.5-turbo"}
        if not rest:
            return page([model])
        if rest[0] != MODEL:
            return None
        return model if method == "GET" else {"id": MODEL, "object": "model", "deleted": True}

    def evaluations_route(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        """Another service has none."""
        return None

    def luthier_route(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        """Another service has none."""
        return None

    def chat_route(self, method: str, rest: list[str], query: dict[str, str], body: Any) -> Any:
        if method == "GET":  # stored ones
            messages = [{"id": "m", "role": "user", "content": "How are\nyou?"}]
            return page(messages if rest else [self.chat_route("POST", [], query, {"model": "gpt-4o"})])
        about = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": body["model"]}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "Hello", "refusal": None}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            return about | {"object": "chat.completion", "choices": [choice]}
        about["object"] = "chat.completion.chunk"
        deltas = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        choices = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
        chunks = [json.dumps(about | {"choices": choice}) for choice in choices]
        return "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]).encode()


def page(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": items, "has_more": False}


def newest_first(events: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    """A cursor page, as the events' resource gives it."""
    ordered = events[::-1]
    ids = [item["id"] for item in ordered]
    start = ids.index(query["after"]) + 1 if "after" in query else 0
    limit = int(query.get("limit", 20))
    return page(ordered[start : start + limit]) | {"has_more": start + limit < len(ordered)}


def checkpoint(job: Job, step: int) -> dict[str, Any]:
    name, metrics = f"{MODEL}:ckpt-step-{step}", {"step": step, "train_loss": 0.5, "full_valid_loss": 0.75}
    about = {"id": f"ftckpt-{step}", "object": "fine_tuning.job.checkpoint", "created_at": 1_700_000_000}
    job_id = job.body["id"]
    about |= {
        "fine_tuned_model_checkpoint": name,
        "step_number": step,
        "metrics": metrics,
        "fine_tuning_job_id": job_id,
    }
    return about


def parse_body(content_type: str, raw: bytes) -> Any:
    """JSON, or a form whose file becomes (name, content)."""
    if not content_type.startswith("multipart/"):
        return json.loads(raw) if raw else None
    form = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + raw)
    fields: dict[str, Any] = {}
    for part in form.walk():
        name, content = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if name and isinstance(content, bytes):
            fields[str(name)] = (part.get_filename(), content) if part.get_filename() else content.decode()
    return fields


def handler(api: FakeAPI) -> type[BaseHTTPRequestHandler]:
    routes = (
        (re.compile(r"/v1/evaluations/?(.*)"), lambda *request: api.evaluations_route(*request)),  # of Luthier alone
        (re.compile(r"/v1/luthier/?(.*)"), lambda *request: api.luthier_route(*request)),
        (re.compile(r"/v1/files/?(.*)"), api.files_route),
        (re.compile(r"/v1/fine_tuning/jobs/?(.*)"), lambda *request: api.jobs_route(*request)),
        (re.compile(r"/v1/models/?(.*)"), lambda *request: api.models_route(*request)),
        (re.compile(r"/v1/chat/completions/?(.*)"), lambda *request: api.chat_route(*request)),  # tests may set another
    )

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            url = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            body = parse_body(self.headers.get("content-type", ""), raw)
            api.requests.append((self.command, url.path, body))
            if api.failures:
                status, content = api.failures.pop(0)
                self.send(status, content)
                return
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            for pattern, route in routes:
                if match := pattern.fullmatch(url.path.replace("%3A", ":")):
                    self.reply(route(self.command, match[1].split("/") if match[1] else [], query, body))
                    return
            self.send(404, b"<html>not here</html>")

        def reply(self, found: Any) -> None:
            missing = {
                "message": "There is no such thing",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
            if found is None:
                self.send(404, json.dumps({"error": missing}).encode())
            elif isinstance(found, bytes):
                self.send(200, found, "text/event-stream" if found.startswith(b"data:") else "application/octet-stream")
            else:
                self.send(200, json.dumps(found).encode())

        def send(self, status: int, content: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("content-type", "text/html" if content.startswith(b"<") else kind)
            self.send_header("content-length", str(len(content)))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: a client that is interrupted leaves broken pipes."""


class RunningAPI:
    """A `FakeAPI` behind a real socket for as long as the context lasts."""

    def __enter__(self) -> FakeAPI:
        api = FakeAPI()
        self._server = Server(("127.0.0.1", 0), handler(api))
        api.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return api

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
