"""The outbox: what is committed is reported once, in order, until it is delivered, given up or dropped."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, insert

from luthier.store import Event, Store
from luthier.store.outbox import GIVE_UP_S, drop_messages, outbox
from luthier.store.webhooks import announce
from luthier.types.clock import Clock
from luthier.types.errors import BadRequestError, NotFoundError
from store.test_store import JOB

OWNER = "w/webhooks"
JOB_EVENTS = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass."""
    passed = [0.0]
    clock = Clock(lambda: time.time() + passed[0], lambda: time.monotonic() + passed[0])
    monkeypatch.setattr("luthier.types.clock.CLOCK", clock)
    return lambda seconds: passed.__setitem__(0, passed[0] + seconds)


def _endpoint(store: Store, *event_types: str) -> str:
    url = "https://hooks.example.com/"
    return store.webhooks.create(name="e", url=url, event_types=event_types or JOB_EVENTS).endpoint.id


def _end(store: Store, status: str = "succeeded") -> str:
    """A job that has ended."""
    job = store.jobs.create(**JOB)
    store.jobs.transition(job.id, ("validating_files",), status, Event("over"))
    return job.id


def test_the_end_of_a_job_and_of_a_batch_is_told_to_whoever_listens(store: Store) -> None:
    everything = _endpoint(store, "batch.completed", *JOB_EVENTS)
    failures = _endpoint(store, "fine_tuning.job.failed")
    other = store.within("proj_other").webhooks
    other.create(name="o", url="https://hooks.example.com/", event_types=JOB_EVENTS)
    job, failed = _end(store), _end(store, "failed")
    batch = store.batches.create(endpoint="/v1/embeddings", input_file_id="file-1", completion_window="24h")
    store.batches.transition(batch.id, ("validating",), "in_progress")
    store.batches.transition(batch.id, ("in_progress",), "completed")
    bodies = [message.body for message in store.outbox.list(everything, limit=9, after=None).data]
    assert [(body["type"], body["data"]) for body in reversed(bodies)] == [
        ("fine_tuning.job.succeeded", {"id": job}),
        ("fine_tuning.job.failed", {"id": failed}),
        ("batch.completed", {"id": batch.id}),
    ]
    assert [message.subject for message in store.outbox.list(failures, limit=9, after=None).data] == [failed]
    assert other.list(limit=9, after=None).data[0].name == "o"
    assert len(store.webhooks.list(limit=9, after=None).data) == 3  # the whole organization's view


def test_a_change_that_is_not_committed_is_not_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, job = _endpoint(store), store.jobs.create(**JOB)
    monkeypatch.setattr("luthier.store.webhooks.post_message", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.jobs.transition(job.id, ("validating_files",), "failed", Event("over"))
    assert store.jobs.retrieve(job.id).status == "validating_files"
    assert store.outbox.list(endpoint, limit=9, after=None).data == []


def test_one_message_at_a_time_goes_to_an_endpoint_and_each_subject_in_order(
    store: Store, passes: Callable[[float], None]
) -> None:
    slow = _endpoint(store)
    jobs = [_end(store), _end(store)]
    quick = _endpoint(store)
    _end(store)
    first, other = store.outbox.claim(OWNER), store.outbox.claim(OWNER)
    assert first
    assert other
    assert (first.destination, first.subject, other.destination) == (slow, jobs[0], quick)
    assert store.outbox.claim(OWNER) is None  # both endpoints are being sent to
    store.outbox.record_failure(first, OWNER, "down")
    second = store.outbox.claim(OWNER)
    assert second
    assert (second.destination, second.subject) == (slow, jobs[1])  # another subject does not wait
    store.outbox.record_delivery(second, OWNER, 204)
    passes(6)
    third = store.outbox.claim(OWNER)
    assert third
    store.outbox.record_delivery(third, OWNER, 204)
    again = store.outbox.claim(OWNER)
    assert again
    assert again.id == first.id


def test_a_later_message_about_a_subject_waits_for_the_earlier_one(store: Store) -> None:
    endpoint, job = _endpoint(store), _end(store)
    with store._database.write() as connection:
        announce(connection, "default", "fine_tuning.job.failed", job)
    first = store.outbox.claim(OWNER)
    assert first
    store.outbox.record_failure(first, OWNER, "down")
    assert store.outbox.claim(OWNER) is None
    assert [message.status for message in store.outbox.list(endpoint, limit=9, after=None).data] == ["pending"] * 2


def test_a_message_that_fails_at_once_does_not_starve_others(store: Store, passes: Callable[[float], None]) -> None:
    _endpoint(store)
    jobs = [_end(store) for _ in range(3)]
    tried = []
    for _ in range(6):
        message = store.outbox.claim(OWNER)
        assert message
        tried.append(message.subject)
        store.outbox.record_failure(message, OWNER, "down")
        passes(11)  # longer than the pauses so far
    assert tried == jobs * 2


@pytest.mark.long
@pytest.mark.sqlite  # it counts its own steps
def test_a_long_queue_is_no_long_search(store: Store) -> None:
    """An endpoint that is down for days: what is searched at each poll grows with the queue, not with its square."""
    row = {"status": "pending", "destination": _endpoint(store), "body": {}, "created_at": 1, "attempts": 0}
    rows = [{**row, "id": f"wh_{number}", "subject": f"resp_{number}"} for number in range(5000)]
    with store._database.write() as connection:
        connection.execute(insert(outbox), rows)
    thousands_of_steps: list[None] = []

    def count(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_progress_handler(lambda: thousands_of_steps.append(None), 1000)

    event.listen(store._database._engine, "checkout", count)
    assert store.outbox.claim(OWNER)
    assert store.outbox.claim(OWNER) is None  # one is being sent
    assert len(thousands_of_steps) < 3000  # the square of the queue is 25,000


def test_pauses_grow_to_an_hour_until_a_message_is_given_up(
    store: Store, passes: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up_s = GIVE_UP_S // 12  # of the three days a few hours, in which all happens
    monkeypatch.setattr("luthier.store.outbox.GIVE_UP_S", give_up_s)
    endpoint, _ = _endpoint(store), _end(store)
    pauses = []
    while message := store.outbox.claim(OWNER):
        store.outbox.record_failure(message, OWNER, "down", 500)
        entry = store.outbox.list(endpoint, limit=1, after=None).data[0]
        if entry.status == "failed":
            break
        assert entry.next_attempt_at
        assert entry.last_attempt_at
        pauses.append(entry.next_attempt_at - entry.last_attempt_at)
        passes(pauses[-1] + 1)
    assert pauses[:4] == [5, 10, 20, 40]
    assert max(pauses) == 3600
    assert give_up_s - 7200 < sum(pauses) <= give_up_s
    assert (entry.status_code, entry.error, entry.attempts) == (500, "down", len(pauses) + 1)
    assert store.outbox.claim(OWNER) is None


def test_what_is_deleted_is_not_told_any_more(store: Store) -> None:
    endpoint, remaining, dropped = _endpoint(store), _end(store), _end(store)
    with store._database.write() as connection:
        drop_messages(connection, [dropped])
    assert [message.subject for message in store.outbox.list(endpoint, limit=9, after=None).data] == [remaining]
    store.webhooks.delete(endpoint)
    assert store.outbox.claim(OWNER) is None
    with pytest.raises(NotFoundError):
        store.webhooks.retrieve(endpoint)


def test_a_message_of_a_dead_worker_is_sent_again_under_its_id(store: Store, passes: Callable[[float], None]) -> None:
    _endpoint(store)
    _end(store)
    first = store.outbox.claim(OWNER)
    assert store.outbox.claim("other/webhooks") is None
    passes(31)
    again = store.outbox.claim("other/webhooks")
    assert first
    assert again
    assert first.id == again.id
    store.outbox.record_delivery(first, OWNER, 200)  # too late: another worker has it
    assert store.outbox.list(first.destination, limit=1, after=None).data[0].status == "pending"


def test_a_week_after_the_last_attempt_the_log_ends(store: Store, passes: Callable[[float], None]) -> None:
    endpoint, _ = _endpoint(store), _end(store)
    message = store.outbox.claim(OWNER)
    assert message
    store.outbox.record_delivery(message, OWNER, 200)
    store.delete_expired()
    assert len(store.outbox.list(endpoint, limit=9, after=None).data) == 1
    passes(11 * 24 * 3600)
    store.delete_expired()
    assert store.outbox.list(endpoint, limit=9, after=None).data == []


def test_an_old_secret_signs_for_a_day_where_that_was_wanted(store: Store, passes: Callable[[float], None]) -> None:
    endpoint = _endpoint(store)
    first = store.webhooks.retrieve(endpoint).secrets
    second = store.webhooks.rotate_secret(endpoint, keep_old=True).secrets
    assert second[1:] == first
    assert second[0] not in first
    passes(23 * 3600)
    assert store.webhooks.retrieve(endpoint).secrets == second
    passes(2 * 3600)
    assert store.webhooks.retrieve(endpoint).secrets == second[:1]
    third = store.webhooks.rotate_secret(endpoint, keep_old=False).secrets
    assert len(third) == 1
    assert third != second[:1]


def test_unchanged_updates_do_not_advance_updated_at(store: Store, passes: Callable[[float], None]) -> None:
    endpoint = store.webhooks.retrieve(_endpoint(store)).endpoint
    passes(60)
    assert store.webhooks.update(endpoint.id, name="e").endpoint == endpoint
    changed = store.webhooks.update(endpoint.id, event_types=["batch.failed", "batch.failed"]).endpoint
    assert changed.event_types == ["batch.failed"]
    assert changed.updated_at > endpoint.updated_at


def test_a_project_has_a_limited_number_of_endpoints(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.store.webhooks.MAX_ENDPOINTS", 2)
    for _ in range(2):
        _endpoint(store)
    with pytest.raises(BadRequestError, match="at most 2"):
        _endpoint(store)
