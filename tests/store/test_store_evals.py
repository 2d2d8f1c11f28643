"""Evals in the store: what a worker may write and when, what the items of a run add up to, what goes with what."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.store import ClaimedRun, Store
from luthier.types.errors import BadRequestError, NotFoundError

_CONFIG = {"type": "custom", "schema": {"type": "object", "properties": {"item": {}}}}
_RUN: dict[str, Any] = {"name": None, "model": "m", "data_source": {"type": "jsonl"}, "metadata": {}}
_HOOK = {"name": "a", "url": "http://localhost:9/", "event_types": ["eval.run.succeeded", "eval.run.canceled"]}
_USAGE = {"model_name": "m", "invocation_count": 1, "prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    opened.webhooks.create(**_HOOK)
    yield opened
    opened.close()


def _eval(store: Store) -> str:
    criteria = [{"name": "same", "type": "string_check"}]
    values = {"data_source_config": _CONFIG, "testing_criteria": criteria, "metadata": None}
    return store.evals.create(name="e", **values).id


def _run(store: Store, eval_id: str, items: int = 3, owner: str = "w/eval runs") -> ClaimedRun:
    store.eval_runs.create(eval_id, **_RUN)
    run = store.eval_runs.claim(owner)
    assert run
    rows = [{"datasource_item": {"n": number}, "answer": None, "sample": {}} for number in range(items)]
    store.eval_runs.add_items(run, owner, rows)
    return run


def _result(passed: bool) -> dict[str, Any]:
    return {"name": "same-1", "type": "string_check", "score": float(passed), "passed": passed}


def _announced(store: Store) -> list[str]:
    endpoint = store.webhooks.list(limit=1, after=None).data[0]
    return [message.body["type"] for message in store.outbox.list(endpoint.id, limit=9, after=None).data]


def test_results_are_those_of_the_items(store: Store) -> None:
    eval_id = _eval(store)
    run = _run(store, eval_id)
    owner, runs = "w/eval runs", store.eval_runs
    for item_id, status in zip(runs.pending_items(run.id), ("pass", "fail", "error"), strict=True):
        output = runs.items(eval_id, run.id, status=None, limit=9, after=None, ascending=True).data
        assert item_id not in [item.id for item in output]
        results = [_result(status == "pass")]
        assert runs.save_item(run.id, owner, item_id, status=status, results=results, usage=[_USAGE])
    runs.finish(run.id, owner, "completed")
    ended = runs.retrieve(eval_id, run.id)
    assert ended.result_counts.model_dump() == {"total": 3, "errored": 1, "failed": 1, "passed": 1}
    assert [counts.model_dump() for counts in ended.per_testing_criteria_results] == [
        {"testing_criteria": "same-1", "passed": 1, "failed": 2}
    ]
    assert [(usage.invocation_count, usage.total_tokens) for usage in ended.per_model_usage] == [(3, 9)]
    failed = runs.items(eval_id, run.id, status="fail", limit=9, after=None, ascending=True).data
    assert [item.datasource_item for item in failed] == [{"n": 1}]
    assert runs.item(eval_id, run.id, failed[0].id) == failed[0]
    assert _announced(store) == ["eval.run.succeeded"]


def test_only_the_owner_of_a_run_in_progress_writes(store: Store) -> None:
    eval_id = _eval(store)
    run = _run(store, eval_id)
    runs, (first, *_) = store.eval_runs, store.eval_runs.pending_items(run.id)
    assert not runs.save_item(run.id, "other/eval runs", first, status="pass")
    runs.add_items(run, "w/eval runs", [{"datasource_item": {}, "answer": None, "sample": {}}])
    assert len(runs.pending_items(run.id)) == 3  # its items are there already
    assert runs.cancel(eval_id, run.id).status == "canceled"
    assert runs.cancel(eval_id, run.id).status == "canceled"
    assert not runs.save_item(run.id, "w/eval runs", first, status="pass")
    runs.finish(run.id, "w/eval runs", "completed")
    assert runs.retrieve(eval_id, run.id).status == "canceled"
    assert _announced(store) == ["eval.run.canceled"]


def test_an_item_that_is_graded_pays_for_the_starts(store: Store) -> None:
    """A run that goes on is never given up; one that dies again and again at an item is."""
    run = _run(store, _eval(store))
    runs, owner = store.eval_runs, "w/eval runs"
    assert run.attempts == 1
    runs.requeue(run.id, owner)  # a worker that stops in good order
    for attempts in (1, 2):
        claimed = runs.claim(owner)
        assert claimed
        assert claimed.attempts == attempts
        runs.queue.release(run.id, owner)
    claimed = runs.claim(owner)
    assert claimed
    runs.save_item(run.id, owner, runs.pending_items(run.id)[0], answer={"output_text": "a"})
    runs.save_item(run.id, owner, runs.pending_items(run.id)[0], status="pass")
    runs.queue.release(run.id, owner)
    claimed = runs.claim(owner)
    assert claimed
    assert (claimed.attempts, len(runs.pending_items(run.id))) == (1, 2)


def test_what_is_deleted_takes_its_parts_along(store: Store) -> None:
    eval_id = _eval(store)
    run, other = _run(store, eval_id), _run(store, eval_id, owner="other/eval runs")
    runs = store.eval_runs
    item_id = runs.pending_items(other.id)[0]
    runs.cancel(eval_id, run.id)
    runs.finish(other.id, "other/eval runs", "completed")
    with pytest.raises(BadRequestError, match="status 'completed'"):
        runs.cancel(eval_id, other.id)
    runs.delete(eval_id, run.id)
    assert runs.pending_items(run.id) == []
    assert _announced(store) == ["eval.run.succeeded"]  # nothing about what is deleted
    store.evals.delete(eval_id)
    assert (runs.pending_items(other.id), runs.stored_item(item_id), _announced(store)) == ([], None, [])
    for call in (lambda: store.evals.retrieve(eval_id), lambda: runs.retrieve(eval_id, other.id)):
        with pytest.raises(NotFoundError):
            call()


def test_evals_are_listed_by_creation_or_by_update(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (_eval(store) for _ in range(3))
    monkeypatch.setattr("luthier.store.evals.now", lambda: 2**40)
    store.evals.update(first, name="later")

    def listed(*, ascending: bool, by_update: bool) -> list[str]:
        ids: list[str] = []
        while page := store.evals.list(
            limit=1, after=ids[-1] if ids else None, ascending=ascending, by_update=by_update
        ).data:
            ids += [entry.id for entry in page]
        return ids

    assert listed(ascending=True, by_update=False) == [first, second, third]
    assert listed(ascending=True, by_update=True) == [second, third, first]
    assert listed(ascending=False, by_update=True) == [first, third, second]


def test_a_project_sees_its_own(store: Store) -> None:
    eval_id = _eval(store.within("proj_a"))
    run = store.within("proj_a").eval_runs.create(eval_id, **_RUN)
    for scope in (store, store.within("proj_a")):
        assert scope.eval_runs.retrieve(eval_id, run.id).id == run.id
    with pytest.raises(NotFoundError):
        store.within("proj_b").eval_runs.retrieve(eval_id, run.id)
    assert store.within("proj_b").evals.list(limit=9, after=None, ascending=True, by_update=False).data == []
    claimed = store.eval_runs.claim("w/eval runs")
    assert claimed
    assert claimed.project == "proj_a"
