"""A lane asks its queue for rows when this process has written something, and rarely otherwise."""

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import pytest

from luthier.worker import lane as lanes
from luthier.worker.lane import Claim, Lane

_PATIENCE_S = 60.0


@dataclass
class EmptyQueue:
    """A handler whose queue has no rows; `claimed` has a permit for each time that it was asked."""

    name: str = "test"
    concurrency: int = 1
    writes: int = 0
    claimed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def claim(self, owner: str, excluding: Collection[str]) -> Claim | None:
        self.claimed.release()
        return None


@pytest.fixture(name="queue")
def _queue(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[EmptyQueue]:
    """An empty queue with a lane that waits `request.param` seconds for rows of other processes."""
    monkeypatch.setattr(lanes, "_POLL_S", 0.01)
    monkeypatch.setattr(lanes, "_UNCHANGED_S", request.param)
    queue, stop = EmptyQueue(), threading.Event()
    lane = Lane(queue, "owner", stop, lambda: queue.writes)
    lane.start()
    yield queue
    stop.set()
    lane.join()


@pytest.mark.parametrize("queue", [10 * _PATIENCE_S], indirect=True)
def test_a_write_of_this_process_makes_an_idle_lane_ask_again(queue: EmptyQueue) -> None:
    assert queue.claimed.acquire(timeout=_PATIENCE_S)
    assert not queue.claimed.acquire(timeout=0.1)
    queue.writes += 1
    assert queue.claimed.acquire(timeout=_PATIENCE_S)


@pytest.mark.parametrize("queue", [0.02], indirect=True)
def test_rows_of_other_processes_are_asked_for_now_and_then(queue: EmptyQueue) -> None:
    for _ in range(3):
        assert queue.claimed.acquire(timeout=_PATIENCE_S)
