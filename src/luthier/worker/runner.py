"""The worker: one lane for each kind of work, and housekeeping."""

import logging
import threading
import time
from collections.abc import Sequence

from luthier.store import Store
from luthier.store.failure_log import log_failure
from luthier.store.work_queue import OWNER_SEPARATOR
from luthier.worker.context import WorkerContext
from luthier.worker.handlers.deliver_webhook import WebhookHandler
from luthier.worker.handlers.job_handler import JobHandler, train_job, validate_job
from luthier.worker.handlers.run_batch import BatchHandler
from luthier.worker.handlers.run_eval import EvalRunHandler
from luthier.worker.handlers.run_evaluation import EvaluationHandler
from luthier.worker.lane import Handler, Lane
from luthier.worker.side_by_side import TrainingMemory
from luthier.worker.training_run import delete_work_files

_log = logging.getLogger(__name__)
_DEAD_WORKERS_S = 1.0
_TIDY_S = 60.0


def job_handlers(context: WorkerContext) -> list[Handler]:
    """The handlers of jobs. Validation has its own lane, so that errors of a new job are reported while another job
    trains."""
    training = JobHandler(context, "queued", train_job, TrainingMemory(context))
    return [JobHandler(context, "validating_files", validate_job), training]


def request_handlers(context: WorkerContext) -> list[Handler]:
    """Work that consists of requests: to the application, and to webhook endpoints."""
    return [BatchHandler(context), EvaluationHandler(context), EvalRunHandler(context), WebhookHandler(context)]


class Worker:
    """Runs until stopped. Stop it before closing its store."""

    def __init__(self, context: WorkerContext, handlers: Sequence[Handler] | None = None) -> None:
        """Without `handlers`: all kinds of work."""
        self._store, self._stop = context.store, context.stop
        self._handlers = handlers if handlers is not None else [*job_handlers(context), *request_handlers(context)]
        self._lanes: list[Lane] = []
        self._housekeeping = threading.Thread(target=_housekeeping, args=(self._store, self._stop), daemon=True)

    def start(self) -> None:
        """Start the lanes; the work of dead workers is taken over immediately."""
        self._store.release_dead_workers()
        self._id = self._store.workers.register()
        # One owner per lane, since a lane must not release a row that another has just claimed.
        self._lanes = [
            Lane(handler, f"{self._id}{OWNER_SEPARATOR}{handler.name}", self._stop, self._store.count_writes)
            for handler in self._handlers
        ]
        for lane in self._lanes:
            lane.start()
        self._housekeeping.start()

    def stop(self) -> None:
        """Stop; returns once the running job has saved its state, subprocesses have exited and leases are released."""
        self._stop.set()
        for lane in self._lanes:
            lane.join()
        self._housekeeping.join()
        self._store.workers.unregister(self._id)


def _housekeeping(store: Store, stop: threading.Event) -> None:
    """Ends the leases of dead workers; deletes expired files and the working files of finished jobs."""
    tidied = -_TIDY_S
    while not stop.wait(_DEAD_WORKERS_S):
        try:
            store.release_dead_workers()
            if time.monotonic() - tidied >= _TIDY_S:
                tidied = time.monotonic()
                store.delete_expired()
                for folder in store.finished_job_folders():
                    delete_work_files(folder)
        except Exception as error:
            log_failure(_log, "housekeeping", error)
