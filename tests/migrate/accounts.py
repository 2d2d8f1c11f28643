"""Accounts for `fake_openai.py`, and the program running with one of them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from migrate.fake_openai import new_server

SUPPORT = "ft:gpt-4o-mini-2024-07-18:acme:support:AAAA1111"
ROUTER = "ft:gpt-4.1-mini-2025-04-14:acme:router:BBBB2222"
VISION = "ft:gpt-4o-2024-08-06:acme:vision:CCCC3333"
TOOL = {"type": "function", "function": {"name": "route", "parameters": {"type": "object", "properties": {}}}}


def chat_line(number: int, **extra: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": f"reply {number}"}]
    return {"messages": messages, **extra}


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def job(number: int, model: str | None, base: str, **extra: Any) -> dict[str, Any]:
    return {
        "id": f"ftjob-{number}", "object": "fine_tuning.job", "created_at": 1_750_000_000 + number, "model": base,
        "fine_tuned_model": model, "status": "succeeded" if model else "failed", "finished_at": 1_750_001_000,
        "organization_id": "org-acme", "trained_tokens": 1000, "seed": 1, "error": None,
        "hyperparameters": {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8},
        "training_file": f"file-train{number}", "validation_file": None, "result_files": [f"file-result{number}"],
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
        **extra,
    }  # fmt: skip


def account(**faults: Any) -> dict[str, Any]:
    """Three fine-tunes (plain, functions, vision), a preference job, 30 failed jobs, and their files."""
    jobs = [
        job(1, SUPPORT, "gpt-4o-mini-2024-07-18", validation_file="file-valid1"),
        job(2, ROUTER, "gpt-4.1-mini-2025-04-14",
            hyperparameters={"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 2e-5}),
        job(3, VISION, "gpt-4o-2024-08-06", validation_file="file-gone"),
        job(4, None, "gpt-4o-mini-2024-07-18", method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}),
        *(job(number, None, "gpt-4o-mini-2024-07-18", training_file="file-train1", result_files=[])
          for number in range(10, 40)),
    ]  # fmt: skip
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    preference = {
        "input": {"messages": [{"role": "user", "content": "which?"}]},
        "preferred_output": [{"role": "assistant", "content": "this"}],
        "non_preferred_output": [{"role": "assistant", "content": "that"}],
    }
    contents = {
        "file-train1": jsonl([chat_line(number) for number in range(100, 140)]),
        "file-valid1": jsonl([chat_line(number) for number in range(12)]),
        "file-train2": jsonl([chat_line(number, tools=[TOOL]) for number in range(200, 206)]),
        "file-train3": jsonl(
            [{"messages": [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, picture]},
                           {"role": "assistant", "content": "a picture"}]}]),
        "file-train4": jsonl([preference] * 3),
        **{f"file-result{number}": "step,train_loss\n1,2.0\n" for number in (1, 2, 3)},
        "file-batchin": '{"custom_id": "a"}\n', "file-batchout": '{"custom_id": "a", "response": {}}\n',
    }  # fmt: skip
    stored = [{"id": f"chatcmpl-{number}", "object": "chat.completion", "created": int(time.time()) - 86400 * 20,
               "model": SUPPORT, "choices": [], "metadata": {}} for number in range(25)]  # fmt: skip
    return {
        "models": [{"id": name, "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": day}
                   for name, day in (("gpt-4o-mini-2024-07-18", "2027-01-20"), ("gpt-6-luna", None))]
        + [{"id": name, "object": "model", "created": 1, "owned_by": "acme"} for name in (SUPPORT, ROUTER, VISION)],
        "jobs": jobs,
        "files": {file_id: {"id": file_id, "object": "file", "bytes": len(text.encode()), "created_at": 1,
                            "filename": f"{file_id}.jsonl", "purpose": _purpose(file_id), "status": "processed"}
                  for file_id, text in contents.items()},
        "contents": contents,
        "events": {"ftjob-1": [{"id": f"ftevent-{number}", "object": "fine_tuning.job.event", "created_at": number,
                                "level": "info", "message": f"Step {number}", "type": "message", "data": {}}
                               for number in range(45)]},
        "checkpoints": {"ftjob-1": [{"id": f"ftckpt-{step}", "object": "fine_tuning.job.checkpoint", "created_at": 1,
                                     "fine_tuned_model_checkpoint": f"{SUPPORT}:ckpt-step-{step}",
                                     "fine_tuning_job_id": "ftjob-1", "metrics": {"step": step}, "step_number": step}
                                    for step in (10, 20)]},
        "stored": stored,
        "messages": {entry["id"]: [{"id": f"{entry['id']}-0", "role": "user", "content": f"stored {entry['id']}"}]
                     for entry in stored},
        "batches": [{"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "created_at": 1,
                     "completion_window": "24h", "status": "completed", "input_file_id": "file-batchin",
                     "output_file_id": "file-batchout", "error_file_id": None}],
        "faults": faults,
    }  # fmt: skip


def small_account(**faults: Any) -> dict[str, Any]:
    """The same fine-tunes and files with few jobs and stored completions, for tests that need no second page."""
    document = account(**faults)
    return {**document, "jobs": document["jobs"][:4], "stored": document["stored"][:2]}


def _purpose(file_id: str) -> str:
    if file_id.startswith("file-result"):
        return "fine-tune-results"
    return {"file-batchin": "batch", "file-batchout": "batch_output"}.get(file_id, "fine-tune")


def add_model(
    document: dict[str, Any], number: int, model: str, base: str, rows: dict[str, list[dict[str, Any]]], **extra: Any
) -> dict[str, Any]:
    """The account with one more fine-tune; `rows` of its files `training` and `validation`."""
    names = {"training": f"file-train{number}", "validation": f"file-valid{number}" if "validation" in rows else None}
    document["jobs"].append(job(number, model, base, validation_file=names["validation"], result_files=[], **extra))
    document["models"].append({"id": model, "object": "model", "created": 1, "owned_by": "acme"})
    for role, examples in rows.items():
        file_id, content = str(names[role]), jsonl(examples)
        document["contents"][file_id] = content
        document["files"][file_id] = {"id": file_id, "object": "file", "bytes": len(content), "created_at": 1,
                                      "filename": f"{file_id}.jsonl", "purpose": "fine-tune"}  # fmt: skip
    return document


class RunningAccount:
    """A service with one account, until the context ends: in a thread, or as a program of its own."""

    def __init__(self, folder: Path, document: dict[str, Any], *, program: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.document, self.log = document, folder / "log.jsonl"
        self._process = self._start_program(folder) if program else None
        self._server = None if program else new_server(json.loads(json.dumps(document)), self.log)
        if self._server:
            port = str(self._server.server_address[1])
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        else:
            port = (folder / "port").read_text()
        self.base_url = f"http://127.0.0.1:{port}/v1"

    def _start_program(self, folder: Path) -> subprocess.Popen[bytes]:
        path, port_file = folder / "account.json", folder / "port"
        path.write_text(json.dumps(self.document))
        script = Path(__file__).with_name("fake_openai.py")
        process = subprocess.Popen([sys.executable, script, path, self.log, port_file])
        while not port_file.exists():
            assert process.poll() is None
            time.sleep(0.01)
        return process

    def __enter__(self) -> RunningAccount:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
        if self._process:
            self._process.kill()
            self._process.wait()

    def requests(self, kind: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]

    def request_count(self) -> int:
        """Of all kinds."""
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0
