"""Lanes: each claims rows of one queue and runs them in threads, with limited concurrency."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from luthier.store.failure_log import log_failure

_log = logging.getLogger(__name__)
_POLL_S = 0.3
_UNCHANGED_S = 1.5  # between claims while this process writes nothing: others add rows too, and leases expire
_AFTER_ERROR_S, _MAX_AFTER_ERROR_S = 1.0, 30.0  # between attempts, doubled while claims fail


@dataclass(frozen=True)
class Claim:
    """A leased row; `run` processes it and releases the lease."""

    row_id: str
    run: Callable[[], None]


class Handler(Protocol):
    """One kind of work, such as training."""

    @property
    def name(self) -> str: ...
    @property
    def concurrency(self) -> int:
        """The number of rows that may run concurrently."""
        ...

    def claim(self, owner: str, excluding: Collection[str]) -> Claim | None:
        """Lease the next row to `owner`; None if there is none. `excluding`: ids of rows that are already running."""
        ...


class Lane:
    """Runs the rows of one handler until `stop` is set; `join` returns once none is running.

    `count_writes`: of this process to the database, so that an idle lane rarely asks it for rows.
    """

    def __init__(self, handler: Handler, owner: str, stop: threading.Event, count_writes: Callable[[], int]) -> None:
        self._handler, self._owner, self._stop, self._count_writes = handler, owner, stop, count_writes
        self._slots = threading.Semaphore(handler.concurrency)
        self._running: dict[str, threading.Thread] = {}
        self._thread = threading.Thread(target=self._loop, name=f"luthier-{handler.name}")

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        for thread in list(self._running.values()):
            thread.join()

    def _loop(self) -> None:
        after_error_s = _AFTER_ERROR_S
        while not self._stop.is_set():
            if not self._slots.acquire(timeout=_POLL_S):
                continue
            if self._stop.is_set():  # a row that this lane has just requeued is for another worker
                return
            writes = self._count_writes()
            try:
                claim = self._handler.claim(self._owner, list(self._running))
                after_error_s = _AFTER_ERROR_S
            except Exception as error:
                log_failure(_log, f"claiming {self._handler.name}", error)
                claim = None
                self._stop.wait(after_error_s)
                after_error_s = min(2 * after_error_s, _MAX_AFTER_ERROR_S)
            if claim is None:
                self._slots.release()
                self._wait(writes)
            else:
                self._start(claim)

    def _wait(self, writes: int) -> None:
        """Until a claim may find a row; `writes` counts those before the last claim."""
        latest_s = time.monotonic() + _UNCHANGED_S
        while not self._stop.wait(_POLL_S):
            if self._count_writes() != writes or time.monotonic() >= latest_s:
                return

    def _start(self, claim: Claim) -> None:
        thread = threading.Thread(target=self._run, args=(claim,), name=f"luthier-{self._handler.name}-{claim.row_id}")
        self._running[claim.row_id] = thread
        thread.start()

    def _run(self, claim: Claim) -> None:
        try:
            claim.run()
        except Exception as error:
            log_failure(_log, claim.row_id, error)
            self._stop.wait(_AFTER_ERROR_S)
        finally:
            del self._running[claim.row_id]
            self._slots.release()
