"""A lease in use: renewed in the background, with a callback when the work is cancelled, paused or lost."""

import logging
import threading
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Protocol

from luthier.store.failure_log import log_failure

_log = logging.getLogger(__name__)
_BEAT_S = 0.5  # how soon a cancellation is noticed; the lease itself lasts far longer


class Heartbeats(Protocol):
    """The part of `LeasedTable` that a lease uses."""

    def heartbeat(self, row_id: str, owner: str) -> str | None: ...
    def status(self, row_id: str) -> str | None: ...


class Lease:
    """While entered, renews the lease of `owner` on a row.

    `on_lost` is called once, from the lease's own thread, when the row leaves `statuses` or gets another owner: with
    the row's new status (`cancelled`, `paused` ...), or None when another worker has it or the row was deleted.
    """

    def __init__(
        self,
        queue: Heartbeats,
        row_id: str,
        owner: str,
        statuses: Collection[str],
        on_lost: Callable[[str | None], None] = lambda _status: None,
    ) -> None:
        self._queue, self._row_id, self._owner = queue, row_id, owner
        self._statuses, self._on_lost = statuses, on_lost
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="luthier-lease", daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._released.set()
        self._thread.join()

    def _beat(self) -> None:
        lost = False
        while not self._released.wait(_BEAT_S):
            try:
                status = self._queue.heartbeat(self._row_id, self._owner)
                new_status = status or self._queue.status(self._row_id)
            except Exception as error:  # a full disk, for example; the lease outlasts many missed heartbeats
                log_failure(_log, f"a heartbeat of {self._row_id}", error)
                continue
            if status not in self._statuses and not lost:
                lost = True
                self._on_lost(None if new_status in self._statuses else new_status)
            if status is None:
                return
