"""One attempt at an evaluation or an eval run: its lease, its end, and its interruptions."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError

from luthier.store import LeasedTable
from luthier.store.failure_log import log_failure
from luthier.store.outages import is_outage
from luthier.store.storage_faults import storage_fault
from luthier.types.errors import APIError, LuthierError
from luthier.worker.application_service import StoppedError
from luthier.worker.context import WorkerContext
from luthier.worker.lease import Lease

_log = logging.getLogger(__name__)
_RETRY_S = 5.0
MAX_ATTEMPTS = 10  # a worker killed from outside looks the same as one that the row's processing killed
Written = TypeVar("Written")


class Rows(Protocol):
    """The part of the store with the row. Neither method changes a row whose lease the owner no longer holds."""

    @property
    def queue(self) -> LeasedTable: ...
    def finish(self, row_id: str, owner: str, status: Any, **values: Any) -> None: ...
    def requeue(self, row_id: str, owner: str) -> None: ...


@dataclass(frozen=True)
class Claimed:
    """`attempts`: counted starts of the row, including this one."""

    row_id: str
    attempts: int
    owner: str


class Attempt(ABC):
    """`running`: the status of a row in progress. `noun`, `unit`: for the message about a worker that died."""

    running: ClassVar[str] = "running"
    noun: ClassVar[str]
    unit: ClassVar[str]

    def __init__(self, context: WorkerContext, rows: Rows, claimed: Claimed) -> None:
        self._rows, self._stop, self.claimed = rows, context.stop, claimed
        self._claim_lost = threading.Event()  # cancelled, deleted, or claimed by another worker

    @abstractmethod
    def work(self) -> None:
        """Do the work and call `finish`. Raises StoppedError; LuthierError if the row fails."""

    def run(self) -> None:
        row_id, owner = self.claimed.row_id, self.claimed.owner
        try:
            with Lease(self._rows.queue, row_id, owner, (self.running,), lambda _: self._claim_lost.set()):
                if self.claimed.attempts > MAX_ATTEMPTS:
                    self._fail("worker_died", _DIED.format(noun=self.noun, unit=self.unit, attempts=MAX_ATTEMPTS))
                else:
                    self._work()
        except StoppedError:
            pass
        finally:
            if self._stop.is_set():
                self._rows.requeue(row_id, owner)
            self._rows.queue.release(row_id, owner)

    def _work(self) -> None:
        try:
            self.work()
        except StoppedError:
            raise
        except Exception as error:
            if storage_fault(error) or not isinstance(error, LuthierError):
                log_failure(_log, f"{self.noun} {self.claimed.row_id}", error)
            if storage_fault(error):
                if not is_outage(error):  # the end of an outage shows in that the row can be written
                    self._stop.wait(_RETRY_S)
                self.written(lambda: self._rows.requeue(self.claimed.row_id, self.claimed.owner))
                return
            code = (error.code or error.type) if isinstance(error, APIError) else "evaluation_failed"
            self._fail(code, str(error) if isinstance(error, LuthierError) else f"{type(error).__name__}: {error}")

    def _fail(self, code: str, message: str) -> None:
        self.finish("failed", error={"code": code, "message": message})

    def finish(self, status: str, **values: Any) -> None:
        """Finish the row; nothing changes if this worker no longer holds its lease. Raises StoppedError if stopped
        before."""
        self.written(lambda: self._rows.finish(self.claimed.row_id, self.claimed.owner, status, **values))

    def stopped(self) -> bool:
        return self._stop.is_set() or self._claim_lost.is_set()

    def written(self, write: Callable[[], Written]) -> Written:
        """Call `write` and return its result. A full disk, a lock or an outage may be transient, so it is retried until
        it succeeds.

        Raises StoppedError.
        """
        while True:
            try:
                return write()
            except DBAPIError as error:
                if not isinstance(error, OperationalError) and not is_outage(error):
                    raise
                log_failure(_log, f"writing {self.noun} {self.claimed.row_id}", error)
            if self._stop.wait(_RETRY_S) or self._claim_lost.is_set():
                raise StoppedError


_DIED = (
    "The worker died {attempts} times while it ran this {noun}, which is not started again. The log of the server or "
    "worker may say why; fewer {unit} need less memory."
)
