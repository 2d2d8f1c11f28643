"""A job held: the lease is renewed in the background, and what others did to the job is noticed."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from luthier.store import Store
from luthier.types.fine_tuning import JobStatus

_log = logging.getLogger(__name__)
_BEAT_S = 0.5  # how soon a cancelled job is noticed; the lease itself lasts far longer


class Lease:
    """While entered, calls `on_taken` once, from its own thread, when the job is no longer ours to run:

    its new status (`cancelled`, `paused` ...), or None when another worker holds it.
    """

    def __init__(
        self, store: Store, job_id: str, owner: str, expected: JobStatus, on_taken: Callable[[JobStatus | None], None]
    ) -> None:
        self._store, self._job_id, self._owner = store, job_id, owner
        self._expected, self._on_taken = expected, on_taken
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="luthier-lease", daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(_BEAT_S):
            try:
                held = self._store.jobs.heartbeat(self._job_id, self._owner)
                status = held or self._store.jobs.get(self._job_id).status
            except Exception:  # a full disk, say: the lease outlasts many a missed beat
                _log.exception("a heartbeat of job %s failed", self._job_id)
                continue
            if held != self._expected:
                self._on_taken(None if status == self._expected else status)
                return
