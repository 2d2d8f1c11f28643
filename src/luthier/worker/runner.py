"""The worker's two loops: one validates files, one trains, so that a new job hears of its errors while another runs."""

import logging
import threading
import time
from collections.abc import Callable

from luthier.catalogue import Catalogue
from luthier.inference import EnginePool
from luthier.settings import Settings
from luthier.store import Event, Job, Store
from luthier.types.common import new_id
from luthier.types.errors import JobError
from luthier.types.fine_tuning import FINAL, OPEN, JobStatus
from luthier.worker.handlers.validate_job import validate
from luthier.worker.lease import Lease
from luthier.worker.training_run import MOST_ATTEMPTS, Run, clear

_log = logging.getLogger(__name__)
_POLL_S = 0.3
_TIDY_S = 60.0


class Worker:
    """Start it, and stop it before the store is closed; stopping saves the job that is running."""

    def __init__(self, settings: Settings, store: Store, catalogue: Catalogue, engines: EnginePool) -> None:
        """`engines`: those that will serve what is trained here; a model is proved on them before its job succeeds."""
        self._settings, self._store, self._catalogue, self._engines = settings, store, catalogue, engines
        self._owner = new_id("worker-", 12)
        self._stop = threading.Event()
        self._tidied = -_TIDY_S
        self._threads = [
            threading.Thread(target=self._loop, args=(status, handle), name=f"luthier-{status}")
            for status, handle in (("validating_files", self._validate), ("queued", self._train))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Returns when nothing runs any more and no child is left."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _loop(self, status: JobStatus, handle: Callable[[Job], None]) -> None:
        owner = f"{self._owner}-{status}"  # one thread must not let go of what the other has just claimed
        while not self._stop.is_set():
            try:
                if status == "queued":
                    self._store.jobs.requeue_lost()
                else:  # the other thread may be training for days
                    self._tidy()
                job = self._store.jobs.claim(owner, status)
                if job is None:
                    self._stop.wait(_POLL_S)
                else:
                    self._guarded(job, handle)
            except Exception:
                _log.exception("the worker met an unforeseen error and goes on")
                self._stop.wait(1)

    def _tidy(self) -> None:
        """Now and then: what expired files and jobs that ended while nobody held them have left."""
        if time.monotonic() - self._tidied < _TIDY_S:
            return
        self._tidied = time.monotonic()
        self._store.files.delete_expired()
        self._store.uploads.tidy()
        self._store.completions.delete_expired()
        for folder in self._store.finished_job_folders():
            clear(folder)

    def _guarded(self, job: Job, handle: Callable[[Job], None]) -> None:
        """Whatever goes wrong with one job is that job's, with a message, and no other's."""
        known_step = self._store.jobs.last_step(job.id)
        try:
            handle(job)
        except JobError as error:
            self._fail(job.id, error)
        except Exception as error:
            _log.exception("job %s met an unforeseen error", job.id)
            self._try_again(job, known_step, error)
        finally:
            self._store.jobs.release(job.id, job.owner)
            if self._store.jobs.get(job.id).status in FINAL:
                clear(self._store.job_folder(job.id))

    def _try_again(self, job: Job, known_step: int, error: Exception) -> None:
        """A fault of the machine (a full disk, a file out of reach) may pass; nothing of the job is thrown away.

        Steps beyond `known_step` were taken since: it was not the same fault all along.
        """
        attempts = 1 if self._store.jobs.last_step(job.id) > known_step else job.attempts + 1
        what = f"{type(error).__name__}: {error}"
        if attempts >= MOST_ATTEMPTS:
            self._fail(job.id, JobError("server_error", f"The server met an error {attempts} times: {what}"))
            return
        self._stop.wait(2 * attempts)
        said = Event(f"The server met an error and tries again: {what}", level="warn")
        to: JobStatus = "validating_files" if job.status == "validating_files" else "queued"
        self._store.jobs.transition(job.id, (to, "running"), to, said, attempts=attempts, estimated_finish=None)

    def _validate(self, job: Job) -> None:
        with Lease(self._store, job.id, job.owner, "validating_files", lambda _: None):
            validate(job, self._store, self._catalogue, self._settings.lora_targets)
        event = Event("Files validated, moving job to queued state")
        self._store.jobs.transition(job.id, ("validating_files",), "queued", event)

    def _train(self, job: Job) -> None:
        Run(job, job.owner, self._store, self._settings, self._catalogue, self._engines, self._stop).run()

    def _fail(self, job_id: str, error: JobError) -> None:
        """`failed`, with everything else left as OpenAI leaves it: no model, no result file, `auto` where it was."""
        said = Event(f"The job failed: {error.message}", level="error")
        body = {"code": error.code, "message": error.message, "param": error.param}
        self._store.jobs.transition(job_id, OPEN, "failed", said, error=body, estimated_finish=None)
