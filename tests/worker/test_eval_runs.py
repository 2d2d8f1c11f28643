"""A run of an eval is ended before each of its writes and goes on: nothing is lost, nothing answered is asked again."""

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from crash_points import at_every_write, run
from luthier.store import Store
from luthier.worker.handlers.run_eval import EvalRunHandler
from worker.test_exactly_once import request_context

pytestmark = pytest.mark.services
_HOOK = {"name": "hook", "url": "http://localhost:9/", "event_types": ["eval.run.succeeded"]}
_TEMPLATE = {"type": "template", "template": [{"role": "user", "content": "{{item.q}}"}]}
_CONTENT = [{"item": {"q": "question"}}]
_SOURCE = {
    "type": "completions",
    "model": "m",
    "source": {"type": "file_content", "content": _CONTENT},
    "input_messages": _TEMPLATE,
}
_USAGE = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}


class _Application:
    """Answers each question, grades each answer with a model, and notes what it is asked."""

    def __init__(self, log: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._log, self.loop = log, loop

    async def post(self, project: str, path: str, body: dict[str, Any], gate: Any = None) -> httpx.Response:
        about = body["item"]["q"] + body["criterion"]["name"] if "item" in body else body["messages"][0]["content"]
        with self._log.open("a") as out:
            out.write(f"{about}\n")
        if "item" in body:
            usage = {"model_name": "judge", "invocation_count": 1, **_USAGE}
            return httpx.Response(200, json={"score": 1.0, "passed": True, "usage": [usage]})
        choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        return httpx.Response(200, json={"model": "m", "choices": [choice], "usage": _USAGE})


def _work(store: Store, log: Path) -> None:
    """What a worker that starts does with a run."""
    context = request_context(store, partial(_Application, log))
    claim = EvalRunHandler(context).claim(f"{store.workers.register()}/eval runs", [])
    if claim:
        claim.run()


def test_a_run_asks_nothing_again_that_was_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.worker.lease._BEAT_S", 60)  # no write at a moment of its own
    store, data, log = Store(tmp_path / "data"), tmp_path / "data", tmp_path / "log"
    endpoint = store.webhooks.create(**_HOOK).endpoint
    criteria = [{"name": name, "type": "score_model", "model": "judge", "input": []} for name in (" clear", " short")]
    config = {"type": "custom", "schema": {"type": "object", "properties": {"item": {}}}}
    of_eval = store.evals.create(name="e", data_source_config=config, testing_criteria=criteria, metadata=None)
    created = store.eval_runs.create(of_eval.id, name="r", model="m", data_source=_SOURCE, metadata={})
    store.close()
    work = partial(_work, store, log)
    for _ in at_every_write(data, work):
        run(data, work)
        restarted = Store(data)
        ended = restarted.eval_runs.retrieve(of_eval.id, created.id)
        assert (ended.status, ended.result_counts.passed, ended.result_counts.total) == ("completed", 1, 1)
        usage = {entry.model_name: entry.invocation_count for entry in ended.per_model_usage}
        assert usage == {"m": 1, "judge": 2}
        assert len(restarted.outbox.list(endpoint.id, limit=9, after=None).data) == 1
        restarted.close()
        times = Counter(log.read_text().splitlines())
        assert set(times) == {item["item"]["q"] + end for item in _CONTENT for end in ("", " clear", " short")}
        assert sum(times.values()) <= len(times) + 1  # the one whose answer was not yet written
        log.unlink()
