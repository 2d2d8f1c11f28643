"""Clients that repeat each request until it is answered, and record what was."""

import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httpx

from crash.ledger import Ledger

_RETRY_S = 0.05
_PATIENCE_S = 240
_RETRIED = (409, 429)
_CREATED = (200, 201)
_MODEL = "gpt-3.5-turbo"
_OVER = ("succeeded", "failed", "cancelled")
_MAX_ENDPOINTS = 40  # of 100 that a project may have
_QUESTIONS = ("odd or even", "seven", "what", "你好")
_SCHEMA = {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}
_EVAL = {
    "data_source_config": {"type": "custom", "item_schema": _SCHEMA, "include_sample_schema": True},
    "testing_criteria": [
        {
            "type": "string_check",
            "name": "echo",
            "input": "{{sample.output_text}}",
            "reference": "{{item.question}}",
            "operation": "ilike",
        }
    ],
}


@dataclass
class Tally:
    """Over all clients: connections that a kill cut, requests refused with a 5xx status whose code is `expected`, and
    those with any other.
    """

    expected: str = "database_unavailable"
    cut: int = 0
    refused: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    waiting_since: dict[int, float] = field(default_factory=dict)  # client → start of the request it now repeats

    def longest_wait_s(self) -> float:
        return max((time.monotonic() - start for start in list(self.waiting_since.values())), default=0.0)


class RepeatingClient:
    """Not thread-safe. A request that failed goes to the next of `urls`, which are servers on one store."""

    def __init__(self, urls: str | Sequence[str], tally: Tally, api_key: str | None = None) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        servers = [urls] if isinstance(urls, str) else urls
        self._servers = cycle([httpx.Client(base_url=f"{url}/v1", timeout=60, headers=headers) for url in servers])
        self._http, self._tally = next(self._servers), tally

    def send(self, method: str, path: str, key: str | None = None, **options: Any) -> tuple[httpx.Response, int]:
        """The answer and the attempts that it took; `key` is the idempotency key."""
        self._tally.waiting_since[id(self)] = time.monotonic()
        try:
            return self._repeat(method, path, {"idempotency-key": key} if key else {}, options)
        finally:
            del self._tally.waiting_since[id(self)]

    def _repeat(
        self, method: str, path: str, headers: dict[str, str], options: dict[str, Any]
    ) -> tuple[httpx.Response, int]:
        end = time.monotonic() + _PATIENCE_S
        for attempt in range(1, 1_000_000):
            try:
                response = self._http.request(method, path, headers=headers, **options)
            except httpx.TransportError:
                self._tally.cut += 1
            else:
                if response.status_code < 500 and response.status_code not in _RETRIED:
                    return response, attempt
                self._note(response)
            self._http = next(self._servers)
            assert time.monotonic() < end, f"{method} {path} was not answered: {self._tally}"
            time.sleep(_RETRY_S)
        raise AssertionError

    def create(self, path: str, key: str | None = None, **options: Any) -> tuple[dict[str, Any], int]:
        """The object that a POST created."""
        response, attempts = self.send("POST", path, key, **options)
        assert response.status_code in _CREATED, f"POST {path}: {response.status_code} {response.text[:500]}"
        return response.json(), attempts

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        response, _ = self.send("GET", path, params=params)
        assert response.status_code == 200, f"GET {path}: {response.status_code} {response.text[:500]}"
        return response.json()

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """All objects of a list."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=100, **params, **cursor)
            yield from page["data"]
            if not page["has_more"]:
                return
            cursor = {"after": page["data"][-1]["id"]}

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[str]:
        """The data lines of one try; ends early where the connection is cut, and with `[DONE]` otherwise."""
        try:
            with self._http.stream("POST", path, json=body) as response:
                if response.status_code != 200:
                    response.read()
                    self._note(response)
                    return
                yield from (line[6:] for line in response.iter_lines() if line.startswith("data: "))
        except httpx.TransportError:
            self._tally.cut += 1
            self._http = next(self._servers)

    def _note(self, response: httpx.Response) -> None:
        self._tally.statuses[response.status_code] += 1
        if response.status_code < 500:
            return
        if response.json()["error"]["code"] == self._tally.expected:
            self._tally.refused += 1
        else:
            self._tally.faults.append(f"{response.request.method} {response.request.url.path}: {response.text[:300]}")


class Workload:
    """One client's operations in a random order; `name` is part of all that it creates, so that it can be found."""

    def __init__(self, client: RepeatingClient, ledger: Ledger, name: str, validation_file: str) -> None:
        self._client, self._ledger, self._name, self._validation_file = client, ledger, name, validation_file
        self._random, self._endpoints, self._count = random.Random(name), 0, 0
        self._operations: list[tuple[int, Callable[[str], None]]] = [
            (6, self._file),
            (5, self._upload),
            (6, self._stored),
            (6, self._stream),
            (4, self._response),
            (4, self._batch),
            (1, self._evaluation),
            (2, self._eval_run),
            (1, self._endpoint),
        ]

    def run(self, stop: threading.Event, pause_s: float) -> None:
        weights = [weight for weight, _ in self._operations]
        while not stop.wait(self._random.uniform(0, 2 * pause_s)):
            self._count += 1
            (_, operation), *_ = self._random.choices(self._operations, weights)
            operation(f"{self._name}-{self._count}")

    def _bytes(self, most: int) -> bytes:
        return self._random.randbytes(self._random.randint(1, most))

    def _put(self, name: str, content: bytes, purpose: str) -> tuple[str, int]:
        """(id, attempts) of an uploaded file."""
        created, attempts = self._client.create("/files", files={"file": (name, content)}, data={"purpose": purpose})
        return created["id"], attempts

    def _file(self, name: str) -> None:
        content = self._bytes(60_000)
        file_id, attempts = self._put(name, content, "user_data")
        self._ledger.record("file", id=file_id, name=name, attempts=attempts, sha256=_sha256(content))
        if self._random.random() < 0.2:
            response, attempts = self._client.send("DELETE", f"/files/{file_id}")
            assert response.status_code == 200 or (response.status_code == 404 and attempts > 1), response.text
            self._ledger.record("deletion", id=file_id)

    def _upload(self, name: str) -> None:
        parts = [self._bytes(20_000) for _ in range(self._random.randint(1, 4))]
        fields = {"filename": name, "purpose": "assistants", "mime_type": "text/plain", "bytes": sum(map(len, parts))}
        upload, _ = self._client.create("/uploads", name, json=fields)
        upload_id, part_ids = upload["id"], []
        for part in parts:
            created, _ = self._client.create(f"/uploads/{upload_id}/parts", files={"data": ("part", part)})
            part_ids.append(created["id"])
            self._ledger.record("part", id=created["id"], upload=upload_id, sha256=_sha256(part))
        facts = {"upload": upload_id, "parts": part_ids, "name": name, "sha256": _sha256(b"".join(parts))}
        if self._random.random() < 0.3:
            self._ledger.record("open upload", **facts)
            return
        body = {"part_ids": part_ids}
        completed, _ = self._client.create(f"/uploads/{upload_id}/complete", f"{name}-end", json=body)
        self._ledger.record("uploaded file", id=completed["file"]["id"], **facts)

    def _question(self, name: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": self._random.choice(_QUESTIONS)}]
        sampling = {"max_tokens": self._random.randint(1, 16), "temperature": 1.2}
        return {"model": _MODEL, "messages": messages, "store": True, "metadata": {"name": name}, **sampling}

    def _stored(self, name: str) -> None:
        completion, attempts = self._client.create("/chat/completions", name, json=self._question(name))
        text = completion["choices"][0]["message"]["content"]
        self._ledger.record("stored completion", id=completion["id"], name=name, attempts=attempts, text=text)

    def _stream(self, name: str) -> None:
        """Tried once: what is cut is no promise."""
        lines = list(self._client.stream("/chat/completions", {**self._question(name), "stream": True}))
        if lines and lines[-1] == "[DONE]":
            chunks = [json.loads(line) for line in lines[:-1]]
            text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
            self._ledger.record("stored stream", id=chunks[0]["id"], name=name, attempts=1, text=text)

    def _response(self, name: str) -> None:
        body = {"model": _MODEL, "input": self._random.choice(_QUESTIONS), "max_output_tokens": 16}
        response, _ = self._client.create("/responses", name, json={**body, "metadata": {"name": name}})
        self._ledger.record("response", id=response["id"], output=response["output"])

    def _batch(self, name: str) -> None:
        ids = [f"{name}-{line}" for line in range(self._random.randint(1, 6))]
        lines = [
            {"custom_id": line, "method": "POST", "url": "/v1/chat/completions", "body": self._question(line)}
            for line in ids
        ]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        file_id, _ = self._put(f"{name}.jsonl", content, "batch")
        body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch, _ = self._client.create("/batches", name, json={**body, "metadata": {"name": name}})
        self._ledger.record("batch", id=batch["id"], name=name, custom_ids=ids)

    def _evaluation(self, name: str) -> None:
        body = {"model": _MODEL, "validation_file": self._validation_file, "max_tokens": 4}
        evaluation, _ = self._client.create("/evaluations", name, json=body)
        self._ledger.record("evaluation", id=evaluation["id"])

    def _eval_run(self, name: str) -> None:
        """An eval and its run, each item of which is answered and graded."""
        created, _ = self._client.create("/evals", name, json={"name": name, **_EVAL})
        self._ledger.record("eval", id=created["id"], name=name)
        questions = self._random.choices(_QUESTIONS, k=self._random.randint(1, 4))
        content = [{"item": {"question": question}} for question in questions]
        template = [{"role": "user", "content": "{{item.question}}"}]
        data_source = {
            "type": "completions",
            "model": _MODEL,
            "input_messages": {"type": "template", "template": template},
            "sampling_params": {"max_completion_tokens": 4},
            "source": {"type": "file_content", "content": content},
        }
        body = {"name": name, "data_source": data_source}
        run, _ = self._client.create(f"/evals/{created['id']}/runs", f"{name}-run", json=body)
        self._ledger.record("eval run", id=run["id"], eval=created["id"], items=len(content))

    def _endpoint(self, name: str) -> None:
        """Of events that do not happen: the others go to the endpoint of the test."""
        if self._endpoints >= _MAX_ENDPOINTS:
            return
        self._endpoints += 1
        body = {"name": name, "url": "http://localhost:9/", "event_types": ["eval.run.failed"]}
        endpoint, _ = self._client.create("/webhook_endpoints", name, json=body)
        self._ledger.record("webhook endpoint", id=endpoint["id"], name=name)


@dataclass(frozen=True)
class TrainingData:
    """Files and hyperparameters of all jobs, which therefore have the same losses; every fifth job is cancelled."""

    training_file: str
    validation_file: str
    epochs: int

    def create(self, client: RepeatingClient, name: str) -> dict[str, Any]:
        body = {
            "model": _MODEL,
            "training_file": self.training_file,
            "validation_file": self.validation_file,
            "hyperparameters": {"n_epochs": self.epochs, "batch_size": 2},
            "seed": 7,
            "metadata": {"name": name},
        }
        job, _ = client.create("/fine_tuning/jobs", name, json=body)
        return job

    def run_jobs(self, client: RepeatingClient, ledger: Ledger, name: str, stop: threading.Event) -> None:
        """One after another."""
        for number in range(1, 1_000_000):
            if stop.is_set():
                return
            job = self.create(client, f"{name}-{number}")
            ledger.record("job", id=job["id"], name=f"{name}-{number}")
            if number % 5 == 0:
                response, _ = client.send("POST", f"/fine_tuning/jobs/{job['id']}/cancel")
                if response.status_code == 200:
                    ledger.record("cancellation", id=job["id"])
            while job["status"] not in _OVER and not stop.wait(0.3):
                job = client.get(f"/fine_tuning/jobs/{job['id']}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
