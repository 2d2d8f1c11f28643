"""The lease: one missed beat is no reason to lose sight of a job."""

import itertools
import threading
from types import SimpleNamespace

from luthier.worker.lease import Lease


def test_a_failed_heartbeat_is_not_the_last() -> None:
    beats = itertools.chain([OSError("disk full"), "running", OSError("disk full")], itertools.repeat("cancelled"))
    statuses, called = [], threading.Event()

    def heartbeat(job_id: str, owner: str) -> str:
        beat = next(beats)
        if isinstance(beat, Exception):
            raise beat
        return beat

    def on_taken(status: str | None) -> None:
        statuses.append(status)
        called.set()

    queue = SimpleNamespace(heartbeat=heartbeat)
    with Lease(queue, "ftjob-1", "worker-1", ("running",), on_taken):
        assert called.wait(120)
    assert statuses == ["cancelled"]
