"""What every database has to do alike: `pytest --postgres tests/store` runs this, and the rest here, on PostgreSQL."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, inspect, select, text

from luthier.store import Event, Job, Store, migrations
from luthier.store.database import events, files, jobs
from luthier.store.migrations import SCHEMA_VERSION
from luthier.store.outbox import Message
from luthier.types.errors import BadRequestError, NotFoundError, StaleClaimError
from luthier.types.responses import MAX_CONTEXT_BYTES
from store.test_store import JOB

BIG = 3 * 1024**3
UNSTORABLE = "half \ud83d, nothing \0 and 半"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """`call` of 0 to count - 1, all of which start together; errors are raised."""
    barrier = threading.Barrier(count)

    def run(number: int) -> Any:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_sizes_and_times_have_64_bits(store: Store) -> None:
    row = {"id": "file-big", "filename": "x" * 5000, "purpose": "p" * 100, "bytes": BIG, "created_at": BIG}
    with store._database.write() as connection:
        connection.execute(insert(files).values(**row))
    file = store.files.retrieve("file-big")
    assert (file.bytes, file.created_at, file.filename, file.purpose) == (BIG, BIG, "x" * 5000, "p" * 100)
    job = store.jobs.create(**{**JOB, "seed": BIG, "suffix": "s" * 100})
    store.jobs.record(job.id, trained_tokens=BIG, estimated_finish=BIG)
    assert store.jobs.get(job.id).trained_tokens == BIG


def test_a_flag_in_a_column_of_numbers_is_a_number(store: Store) -> None:
    options = {"against": [], "definitions": [], "limit": None, "max_tokens": None}
    created = store.evaluations.create(model="m", validation_file="file-1", functions=True, **options)
    assert store.evaluations.retrieve(created.id).functions == 1


def test_texts_that_a_database_cannot_keep_are_cleaned(store: Store) -> None:
    job = store.jobs.create(**JOB)
    store.jobs.record(job.id, Event(UNSTORABLE, data={"text": "\0", "numbers": [1.5, float("nan"), -float("inf")]}))
    event = store.jobs.events(job.id, limit=1, after=None).data[0]
    assert event.message == "half \ufffd, nothing \ufffd and 半"
    assert event.data == {"text": "\0", "numbers": [1.5, None, None]}


def test_ids_that_no_row_can_have_are_not_found(store: Store) -> None:
    for read in (store.files.retrieve, store.jobs.retrieve, store.batches.retrieve, store.evaluations.retrieve):
        with pytest.raises(NotFoundError):
            read("file-\0")


def test_metadata_is_found_by_any_key(store: Store) -> None:
    pairs = [{"a": "1", 'quo"te': "x"}, {"a": "2", "$.a[0]": "%"}, {}, None, {"a": "3\0"}]
    ids = [store.jobs.create(**{**JOB, "metadata": metadata}).id for metadata in pairs]

    def matching(**filters: Any) -> set[int]:
        return {ids.index(job.id) for job in store.jobs.list(limit=9, after=None, **filters).data}

    assert matching() == {0, 1, 2, 3, 4}
    assert matching(without_metadata=True) == {2, 3}
    assert matching(metadata={"a": "1"}) == {0}
    assert matching(metadata={"a": "1", 'quo"te': "x"}) == {0}
    assert matching(metadata={"$.a[0]": "%"}) == {1}
    assert (
        matching(metadata={"a": "%"})
        == matching(metadata={"b": "1"})
        == matching(metadata={"a": "1", "b": "1"})
        == set()
    )


def test_a_step_is_recorded_once_by_many_writers(store: Store) -> None:
    job = store.jobs.create(**JOB).id
    for step in range(1, 4):
        at_once(4, lambda number, step=step: store.jobs.record(job, _metrics(step), Event("once", key="key")))
    recorded = store.jobs.events(job, limit=99, after=None).data
    assert [event.type for event in recorded].count("metrics") == 3
    assert [event.message for event in recorded].count("once") == 1


def _metrics(step: int) -> Event:
    return Event(f"Step {step}", type="metrics", data={"step": step}, step=step)


def test_a_poller_misses_no_event(store: Store) -> None:
    """Whoever has read up to an event gets every later one: the order of pages is that of commits."""
    job, over = store.jobs.create(**JOB).id, threading.Event()
    event_ids: list[str] = []

    def poll() -> None:
        last = False
        while not last:
            last = over.is_set()
            page = store.jobs.messages(job, limit=99, after=event_ids[-1] if event_ids else None)
            event_ids.extend(event.id for event in page.data)

    with ThreadPoolExecutor(1) as pool:
        polling = pool.submit(poll)
        at_once(4, lambda number: [store.jobs.record(job, Event(f"{number}")) for _ in range(5)])
        over.set()
        polling.result()
    assert len(set(event_ids)) == len(event_ids) == 21


def test_a_read_is_of_one_moment(store: Store) -> None:
    with store._database.read() as connection:
        before = connection.execute(select(jobs.c.id)).all()
        store.jobs.create(**JOB)
        assert connection.execute(select(jobs.c.id)).all() == before == []
    with store._database.read() as connection:
        assert len(connection.execute(select(events.c.id)).all()) == 1


def test_what_a_write_has_read_holds_until_its_end(store: Store) -> None:
    """Ten reservations of one key at once are one reservation."""
    seeds = {seed for _, seed in at_once(8, lambda number: store.idempotency_keys.reserve("key", "digest"))}
    assert len(seeds) == 1


def _claimed_twice(store: Store) -> tuple[Job, Job]:
    """One job under an older and a newer claim."""
    store.jobs.create(**JOB)
    older = store.jobs.claim("old/lane", "validating_files")
    assert older
    store.jobs.queue.release_worker("old")
    newer = store.jobs.claim("new/lane", "validating_files")
    assert newer
    return older, newer


def test_writes_of_an_older_claim_are_refused_and_counted(store: Store, tmp_path: Path) -> None:
    older, newer = _claimed_twice(store)
    assert newer.fencing_token > older.fencing_token
    stale, current = store.holding(older.fencing_token), store.holding(newer.fencing_token)
    events_before = len(store.jobs.events(newer.id, limit=99, after=None).data)
    checkpoint = tmp_path / "made"
    checkpoint.mkdir()
    (checkpoint / "weights").write_bytes(b"old")
    values: dict[str, Any] = {"name": "ft:m", "step": 1, "metrics": {}, "call_form": None, "event": None, "keep": 3}
    writes: list[Callable[[], object]] = [
        lambda: stale.jobs.record(older.id, _metrics(1), trained_tokens=1),
        lambda: stale.jobs.transition(older.id, ("validating_files",), "failed", Event("over")),
        lambda: stale.models.add_checkpoint(older, source=checkpoint, **values),
    ]
    for write in writes:
        with pytest.raises(StaleClaimError):
            write()
    assert stale.jobs.queue.heartbeat(older.id, older.owner) is None
    assert store.jobs.queue.count_stale_writes() == len(writes)
    assert len(store.jobs.events(newer.id, limit=99, after=None).data) == events_before
    assert (checkpoint / "weights").read_bytes() == b"old"
    assert store.models.list() == []
    assert current.models.add_checkpoint(newer, source=checkpoint, **values) == "ft:m"
    assert current.jobs.transition(newer.id, ("validating_files",), "queued", Event("checked"))


def test_a_lost_job_is_fenced_before_another_worker_has_it(store: Store) -> None:
    job = store.jobs.create(**JOB)
    claimed = store.jobs.claim("w/lane", "validating_files")
    assert claimed
    store.jobs.transition(job.id, ("validating_files",), "running", Event("started"), release=False)
    _expire_leases(store)
    assert store.jobs.requeue_lost() == [job.id]
    with pytest.raises(StaleClaimError):
        store.holding(claimed.fencing_token).jobs.record(job.id, _metrics(1))


def test_an_api_call_is_no_stale_write(store: Store) -> None:
    """Cancelling a job takes it from its worker, whose writes then change nothing."""
    job = store.jobs.create(**JOB)
    claimed = store.jobs.claim("w/lane", "validating_files")
    assert claimed
    store.jobs.cancel(job.id)
    scope = store.holding(claimed.fencing_token).jobs
    scope.record(job.id, _metrics(1))
    assert not scope.transition(job.id, ("validating_files",), "queued", Event("checked"))
    assert store.jobs.queue.count_stale_writes() == 0


def _expire_leases(store: Store) -> None:
    with store._database.write() as connection:
        connection.execute(jobs.update().values(lease_until=time.time() - 60))


def test_one_message_at_a_time_goes_to_a_destination(store: Store) -> None:
    url, kinds = "https://hooks.example.com/", ["fine_tuning.job.cancelled"]
    store.webhooks.create(name="e", url=url, event_types=kinds)
    for _ in range(4):
        store.jobs.cancel(store.jobs.create(**JOB).id)
    messages: list[Message | None] = at_once(4, lambda number: store.outbox.claim(f"w{number}"))
    assert sum(message is not None for message in messages) == 1


def test_parts_that_race_stay_within_the_limit(store: Store) -> None:
    upload = store.uploads.create("a.jsonl", "fine-tune", 30, file_expires_after_s=None)

    def add(_: int) -> bool:
        try:
            store.uploads.add_part(upload.id, lambda out: out.write(b"x" * 10) and None, max_bytes=30)
        except Exception:
            return False
        return True

    assert sum(at_once(6, add)) == 3


def test_items_are_limited_by_their_number_and_size(store: Store) -> None:
    conversation = store.conversations.create({}, [{"id": "msg_1", "content": "半" * 10}], max_rows=10)
    assert [entry["id"] for entry in store.conversations.context(conversation.id)] == ["msg_1"]
    with pytest.raises(BadRequestError, match="bytes"):
        store.conversations.add(conversation.id, [{"id": "msg_2", "content": "x" * (MAX_CONTEXT_BYTES + 1)}])


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_database_of_an_earlier_schema_becomes_what_a_new_one_is(store: Store, tmp_path: Path, version: int) -> None:
    def columns() -> dict[str, dict[str, str]]:
        with store._database.read() as connection:
            inspector = inspect(connection)
            return {
                table: {str(column["name"]): repr(column["type"]) for column in inspector.get_columns(table)}
                for table in inspector.get_table_names()
            }

    current, job = columns(), store.jobs.create(**JOB)
    with store._database.write() as connection:
        for step in range(version, SCHEMA_VERSION):
            for table, names in migrations._STEPS[step].items():
                for name in names:
                    connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {name}"))
        connection.execute(text("UPDATE schema SET version = :version"), {"version": version})
    assert columns() != current
    migrated = Store(tmp_path)
    assert columns() == current
    assert migrated.jobs.get(job.id).fencing_token == 0
    migrated.close()
