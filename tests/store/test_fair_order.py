"""Which job starts next: priorities, then turns between projects, then age; and when the others will start."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.store import Event, Store
from luthier.store.fair_order import RunningJob, Start, WaitingJob, next_job, starts
from luthier.store.job_priority import set_priority
from luthier.types.common import now
from luthier.types.errors import BadRequestError
from store.test_store import JOB


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def _order(waiting: list[WaitingJob], trained_s: dict[str, float] | None = None, trainers: int = 1) -> str:
    return "".join(start.job_id for start in starts(waiting, [], trained_s or {}, trainers))


def _jobs(*projects: str, **fields: float) -> list[WaitingJob]:
    """A job of each project, called a, b, c ... in the order of their creation."""
    names = "abcdefghijklmnopqrstuvwxyz"
    return [WaitingJob(names[at], project, 0, at, **fields) for at, project in enumerate(projects)]


def test_projects_take_turns_whoever_came_with_more() -> None:
    assert _order(_jobs("many", "many", "many", "few", "other", duration_s=60.0)) == "adebc"


def test_the_project_that_trained_least_goes_first() -> None:
    waiting = _jobs("busy", "busy", "idle", "idle", "idle", duration_s=60.0)
    assert _order(waiting, {"busy": 150.0}) == "cdeab"


def test_within_a_project_the_oldest_goes_first() -> None:
    assert _order(list(reversed(_jobs("one", "one", "one")))) == "abc"


def test_a_priority_passes_everyone_and_a_negative_one_lets_everyone_pass() -> None:
    first, urgent, later = _jobs("one", "two", "three")
    waiting = [first, WaitingJob("b", "two", 3, 1), WaitingJob("c", "three", -1, 2)]
    assert _order(waiting, {"two": 1e6}) == "bac"
    assert next_job([first, urgent, later], {}, {}) == first


def test_an_interrupted_job_goes_on_before_others_start() -> None:
    waiting = [*_jobs("one", "two"), WaitingJob("z", "three", 0, 9, has_begun=True)]
    assert _order(waiting, {"three": 1e6})[0] == "z"


def test_a_project_with_a_running_job_waits_for_those_without() -> None:
    assert next_job(_jobs("one", "two"), {"one": 1}, {"two": 1e6}).id == "b"
    assert next_job([], {}, {}) is None


def test_no_project_starves_however_many_jobs_another_adds() -> None:
    """Two projects that always have a job waiting end up with the same share, also with jobs of unequal length."""
    shares = Counter({"long": 0.0, "short": 0.0})
    durations_s = {"long": 300.0, "short": 40.0}
    for _ in range(200):
        waiting = [WaitingJob(project, project, 0, at) for at, project in enumerate(shares)]
        chosen = next_job(waiting, {}, shares)
        shares[chosen.project] += durations_s[chosen.project]
    assert abs(shares["long"] - shares["short"]) <= 300.0


def test_starts_are_those_of_trainers_side_by_side() -> None:
    waiting = _jobs("one", "two", "three", duration_s=100.0)
    running = [RunningJob("one", 30.0)]
    assert list(starts(waiting, running, {}, 1)) == [Start("b", 1, 30.0), Start("c", 2, 130.0), Start("a", 3, 230.0)]
    assert list(starts(waiting, running, {}, 2)) == [Start("b", 1, 0.0), Start("c", 2, 30.0), Start("a", 3, 100.0)]


def test_an_unknown_duration_leaves_the_starts_after_it_unknown() -> None:
    waiting = _jobs("one", "two")
    assert [start.after_s for start in starts(waiting, [RunningJob("one")], {}, 1)] == [None, None]
    assert [start.after_s for start in starts(waiting, [RunningJob("one")], {}, 2)] == [0.0, None]
    assert [start.after_s for start in starts(waiting, [RunningJob("one")] * 3, {}, 2)] == [None, None]


def _queued(store: Store, project: str, **fields: object) -> str:
    job = store.within(project).jobs.create(**{**JOB, **fields})
    store.jobs.transition(job.id, ("validating_files",), "queued", Event("validated"))
    return job.id


def test_the_store_knows_what_a_project_trained(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds from step to step: a pause of hours counts for nothing, and neither does what is older than a day."""
    busy = [_queued(store, "proj_busy") for _ in range(3)]
    idle = _queued(store, "proj_idle")
    begin = now()

    def train(job_id: str, *steps_s: int) -> None:
        for after_s in steps_s:
            monkeypatch.setattr("luthier.store.jobs.now", lambda at=begin + after_s: at)
            store.jobs.record(job_id, Event("Step", type="metrics", data={"step": after_s}, step=after_s + 1))

    train(busy[0], 0, 20, 40, 8 * 3600, 8 * 3600 + 20)
    assert store.job_queue.next_id("queued") == busy[0]  # it has begun
    assert store.job_queue.next_id("queued", excluding=[busy[0]]) == idle
    assert [store.job_queue.places(1)[job_id].ahead for job_id in (busy[0], idle, *busy[1:])] == [0, 1, 2, 3]
    other = _queued(store, "proj_idle")
    train(other, 0, 30, 61)  # a second more than the busy one
    assert store.job_queue.next_id("queued", excluding=[busy[0], other]) == busy[1]


def test_a_priority_can_be_changed_until_the_job_is_over(store: Store) -> None:
    first, second = _queued(store, "proj_one"), _queued(store, "proj_one", metadata={"team": "a"})
    set_priority(store.jobs, second, 3)
    assert store.jobs.retrieve(second).metadata == {"team": "a", "luthier:priority": "3"}
    assert store.job_queue.next_id("queued") == second
    set_priority(store.jobs, second, -3)
    assert store.job_queue.next_id("queued") == first
    assert store.jobs.events(second, limit=1, after=None).data[0].message == "The priority of the job is now -3"
    store.jobs.cancel(first)
    with pytest.raises(BadRequestError, match="already completed"):
        set_priority(store.jobs, first, 1)
    full = _queued(store, "proj_one", metadata={str(number): "" for number in range(16)})
    with pytest.raises(BadRequestError, match="16 pairs"):
        set_priority(store.jobs, full, 1)


def test_a_leased_job_is_not_next(store: Store) -> None:
    first, second = _queued(store, "proj_one"), _queued(store, "proj_one")
    assert store.jobs.claim("w", "queued", job_id=first)
    assert store.job_queue.next_id("queued") == second
    assert store.jobs.claim("v", "queued", job_id=first) is None
