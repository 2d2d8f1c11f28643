"""Compares what was acknowledged with what a server has: it knows the ledger and the API, and nothing else."""

import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from crash.clients import RepeatingClient
from crash.ledger import Ledger

_POLL_S = 0.3
_ENDS = {
    "job": ("/fine_tuning/jobs", ("succeeded", "failed", "cancelled")),
    "batch": ("/batches", ("completed", "failed", "expired", "cancelled")),
    "evaluation": ("/evaluations", ("succeeded", "failed", "cancelled")),
    "eval run": ("/evals/{eval}/runs", ("completed", "failed", "canceled")),
}
_QUIET_S = 2.0
Facts = dict[str, Any]


@dataclass
class Findings:
    """`lost` and `duplicated` say what, in words; both are empty where the promise holds."""

    acknowledged: Counter[str] = field(default_factory=Counter)
    present: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)

    def compare(self, kind: str, subject: str, expected: object, actual: object) -> None:
        self.acknowledged[kind] += 1
        if expected == actual:
            self.present[kind] += 1
        else:
            self.lost.append(
                f"{kind} {subject}: {str(expected)[:200]!r} was acknowledged, {str(actual)[:200]!r} is there"
            )

    def count_once(self, kind: str, counts: Counter[str], names: list[str]) -> None:
        """Each of `names` stands for one object."""
        self.duplicated += [f"{kind} {name}: {counts[name]} times" for name in names if counts[name] > 1]


class Checker:
    """`reference`: the id of a job with the data of all others, which ran without interruption."""

    def __init__(self, client: RepeatingClient, ledger: Ledger, reference: str) -> None:
        self._client, self._ledger, self._reference = client, ledger, reference
        self._facts: dict[str, list[Facts]] = defaultdict(list)
        self.findings = Findings()

    def await_ends(self, within_s: float) -> None:
        """Until each job, batch, evaluation and run of an eval has ended, and no webhook has come for a while."""
        end = time.monotonic() + within_s
        for kind, (_, final) in _ENDS.items():
            for facts in self._ledger.read():
                if facts["kind"] != kind:
                    continue
                while (status := self._status(kind, facts)) not in final:
                    assert time.monotonic() < end, f"{kind} {facts['id']} is still {status}"
                    time.sleep(_POLL_S)
        deliveries = -1
        while (count := sum(facts["kind"] == "delivery" for facts in self._ledger.read())) != deliveries:
            deliveries = count
            time.sleep(_QUIET_S)

    def _status(self, kind: str, facts: Facts) -> str:
        path, _ = _ENDS[kind]
        return str(self._client.get(f"{path.format(**facts)}/{facts['id']}")["status"])

    def check(self) -> Findings:
        for facts in self._ledger.read():
            self._facts[facts["kind"]].append(facts)
        checks: list[Callable[[], None]] = [self._files, self._parts, self._completions, self._responses]
        checks += [self._batches, self._evaluations, self._evals, self._eval_runs, self._endpoints, self._jobs]
        for check in (*checks, self._webhooks):
            check()
        return self.findings

    # -- files ----------------------------------------------------------------------------------------------------

    def _content_hash(self, file_id: str) -> str | None:
        response, _ = self._client.send("GET", f"/files/{file_id}/content")
        return hashlib.sha256(response.content).hexdigest() if response.status_code == 200 else None

    def _files(self) -> None:
        deleted = {facts["id"] for facts in self._facts["deletion"]}
        for kind in ("file", "uploaded file"):
            for facts in self._facts[kind]:
                expected = None if facts["id"] in deleted else facts["sha256"]
                self.findings.compare(kind, facts["id"], expected, self._content_hash(facts["id"]))
        names = Counter(file["filename"] for file in self._client.pages("/files"))
        tried_once = [facts["name"] for facts in self._facts["file"] if facts["attempts"] == 1]
        self.findings.count_once("file", names, tried_once)
        self.findings.count_once("uploaded file", names, [facts["name"] for facts in self._facts["uploaded file"]])

    def _parts(self) -> None:
        """Those of uploads that nobody completed: now they are."""
        for facts in self._facts["open upload"]:
            path = f"/uploads/{facts['upload']}/complete"
            response, _ = self._client.send("POST", path, f"{facts['name']}-end", json={"part_ids": facts["parts"]})
            file_id = response.json().get("file", {}).get("id") if response.status_code == 200 else None
            self.findings.compare("open upload", facts["upload"], facts["sha256"], self._content_hash(str(file_id)))

    # -- generated ------------------------------------------------------------------------------------------------

    def _completions(self) -> None:
        names: Counter[str] = Counter()
        texts: dict[str, str] = {}
        for completion in self._client.pages("/chat/completions"):
            names[completion["metadata"].get("name", "")] += 1
            texts[completion["id"]] = completion["choices"][0]["message"]["content"] or ""
        for kind in ("stored completion", "stored stream"):
            for facts in self._facts[kind]:
                self.findings.compare(kind, facts["id"], facts["text"] or "", texts.get(facts["id"]))
            self.findings.count_once(kind, names, [facts["name"] for facts in self._facts[kind]])
        lines = [line for facts in self._facts["batch"] for line in facts["custom_ids"]]
        self.findings.count_once("stored completion of a batch", names, lines)

    def _responses(self) -> None:
        for facts in self._facts["response"]:
            response, _ = self._client.send("GET", f"/responses/{facts['id']}")
            self.findings.compare("response", facts["id"], facts["output"], response.json().get("output"))

    def _batches(self) -> None:
        for facts in self._facts["batch"]:
            response, _ = self._client.send("GET", f"/batches/{facts['id']}")
            batch = response.json()
            answered: Counter[str] = Counter()
            for file_id in filter(None, (batch.get("output_file_id"), batch.get("error_file_id"))):
                content, _ = self._client.send("GET", f"/files/{file_id}/content")
                answered.update(json.loads(line)["custom_id"] for line in content.content.splitlines())
            expected = (sorted(facts["custom_ids"]), len(facts["custom_ids"]))
            actual = (sorted(answered), batch.get("request_counts", {}).get("completed"))
            self.findings.compare("batch", facts["id"], expected, actual)
            self.findings.count_once("batch line", answered, facts["custom_ids"])
        names = Counter((batch["metadata"] or {}).get("name", "") for batch in self._client.pages("/batches"))
        self.findings.count_once("batch", names, [facts["name"] for facts in self._facts["batch"]])
        outputs = list(self._client.pages("/files", purpose="batch_output"))
        if len(outputs) > len(self._facts["batch"]):
            self.findings.duplicated.append(f"{len(outputs)} output files of {len(self._facts['batch'])} batches")

    def _evaluations(self) -> None:
        for facts in self._facts["evaluation"]:
            response, _ = self._client.send("GET", f"/evaluations/{facts['id']}")
            self.findings.compare("evaluation", facts["id"], "succeeded", response.json().get("status"))
        count = len(list(self._client.pages("/evaluations")))
        if count > len(self._facts["evaluation"]):
            self.findings.duplicated.append(f"{count} evaluations of {len(self._facts['evaluation'])} requests")

    def _evals(self) -> None:
        for facts in self._facts["eval"]:
            response, _ = self._client.send("GET", f"/evals/{facts['id']}")
            self.findings.compare("eval", facts["id"], facts["name"], response.json().get("name"))
        names = Counter(entry["name"] for entry in self._client.pages("/evals"))
        self.findings.count_once("eval", names, [facts["name"] for facts in self._facts["eval"]])

    def _eval_runs(self) -> None:
        """Each has an output item for each of its items, none of which met an error."""
        for facts in self._facts["eval run"]:
            runs, output_items = f"/evals/{facts['eval']}/runs", []
            response, _ = self._client.send("GET", f"{runs}/{facts['id']}")
            if response.status_code == 200:
                output_items = list(self._client.pages(f"{runs}/{facts['id']}/output_items"))
                count = len(list(self._client.pages(runs)))
                self.findings.count_once("run of the eval", Counter({facts["eval"]: count}), [facts["eval"]])
            numbers = Counter(str(output_item["datasource_item_id"]) for output_item in output_items)
            errors = [output_item["id"] for output_item in output_items if output_item["status"] == "error"]
            expected = ("completed", {str(number) for number in range(facts["items"])}, [])
            actual = (response.json().get("status"), set(numbers), errors)
            self.findings.compare("eval run", facts["id"], expected, actual)
            self.findings.count_once(f"output item of {facts['id']}:", numbers, list(numbers))

    # -- webhooks -------------------------------------------------------------------------------------------------

    def _endpoints(self) -> None:
        names = Counter(endpoint["name"] for endpoint in self._client.pages("/webhook_endpoints"))
        for facts in self._facts["webhook endpoint"]:
            self.findings.compare("webhook endpoint", facts["id"], True, names[facts["name"]] > 0)
        self.findings.count_once(
            "webhook endpoint", names, [facts["name"] for facts in self._facts["webhook endpoint"]]
        )

    def _webhooks(self) -> None:
        """Each end is reported under one id, however often that was sent."""
        ids: dict[tuple[str, str], set[str]] = defaultdict(set)
        for facts in self._facts["delivery"]:
            ids[facts["type"], facts["subject"]].add(facts["id"])
        for kind, prefix in (("job", "fine_tuning.job"), ("batch", "batch"), ("eval run", "eval.run")):
            for facts in self._facts[kind]:
                status = self._status(kind, facts)
                event = f"{prefix}.{'succeeded' if kind == 'eval run' and status == 'completed' else status}"
                event_ids = ids[event, facts["id"]]
                self.findings.compare("webhook", facts["id"], True, bool(event_ids))
                if len(event_ids) > 1:
                    self.findings.duplicated.append(f"webhook {event} of {facts['id']}: {len(event_ids)} ids")

    # -- jobs -----------------------------------------------------------------------------------------------------

    def _jobs(self) -> None:
        expected = self._losses(self._reference)
        assert expected, "the reference has no losses"
        cancelled = {facts["id"] for facts in self._facts["cancellation"]}
        result_files = 0
        for facts in self._facts["job"]:
            job = self._client.get(f"/fine_tuning/jobs/{facts['id']}")
            status = "cancelled" if facts["id"] in cancelled else "succeeded"
            self.findings.compare("job", facts["id"], status, job["status"])
            if job["status"] == "succeeded":
                result_files += len(job["result_files"])
                self._losses_and_models(job, expected)
        names = Counter((job["metadata"] or {}).get("name", "") for job in self._client.pages("/fine_tuning/jobs"))
        self.findings.count_once("job", names, [facts["name"] for facts in self._facts["job"]])
        files = len(list(self._client.pages("/files", purpose="fine-tune-results")))
        if files != result_files + 1:  # the reference has one too
            self.findings.duplicated.append(f"{files} result files, of which jobs name {result_files + 1}")

    def _losses(self, job_id: str) -> list[Facts]:
        """Of each step, in the order of the events."""
        events = [event for event in self._client.pages(f"/fine_tuning/jobs/{job_id}/events")][::-1]
        return [
            {name: value for name, value in event["data"].items() if name == "step" or "loss" in name}
            for event in events
            if event["type"] == "metrics"
        ]

    def _losses_and_models(self, job: Facts, expected: list[Facts]) -> None:
        self.findings.compare("losses of a job", job["id"], expected, self._losses(job["id"]))
        events = list(self._client.pages(f"/fine_tuning/jobs/{job['id']}/events"))
        messages = Counter(
            event["message"] for event in events if event["type"] == "message" and event["level"] == "info"
        )
        self.findings.count_once(f"event of {job['id']}:", messages, list(messages))
        checkpoints = list(self._client.pages(f"/fine_tuning/jobs/{job['id']}/checkpoints"))
        steps = Counter(str(checkpoint["step_number"]) for checkpoint in checkpoints)
        self.findings.count_once(f"checkpoint of {job['id']}: step", steps, list(steps))
        models = [checkpoint["fine_tuned_model_checkpoint"] for checkpoint in checkpoints]
        for model in {job["fine_tuned_model"], *models}:
            body = {"model": model, "messages": [{"role": "user", "content": "7"}], "max_tokens": 2}
            response, _ = self._client.send("POST", "/chat/completions", json=body)
            self.findings.compare("model or checkpoint", str(model), 200, response.status_code)
