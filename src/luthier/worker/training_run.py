"""One run of a job's trainer: from a queued job to the fine-tuned model, or back to the queue."""

import logging
import shutil
import signal
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from luthier.catalogue.rates import Rate, add_rate, load_per_core, rate_key
from luthier.store import Event, Job
from luthier.training import protocol
from luthier.training.job_spec import JobSpec
from luthier.types.common import now
from luthier.types.errors import JobError
from luthier.worker import job_messages, job_spec_builder, out_of_memory
from luthier.worker.context import WorkerContext
from luthier.worker.lease import Lease
from luthier.worker.model_publisher import ModelPublisher
from luthier.worker.ray_trainer.launcher import RayTrainerProcess, TrainerResources
from luthier.worker.side_by_side import TrainingMemory
from luthier.worker.state_uploads import StateUploads
from luthier.worker.trackers.live import LiveTrackers
from luthier.worker.trainer_events import TrainerEvents
from luthier.worker.trainer_hardware import TrainerHardware
from luthier.worker.trainer_process import LocalTrainerProcess, TrainerProcess
from luthier.worker.usage_reports import UsageReports

_log = logging.getLogger(__name__)
_KEPT_FILES = ("job.json", "trainer.log", "trainer.lock")
_LOG_CHARACTERS = 500  # of the trainer's log in the error of a failed job
MAX_ATTEMPTS = 3
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_AFTER_KILL_S = 2.0
_AFTER_NODE_LOSS_S = 5.0


class TrainingRun:
    """The job's owner holds its lease."""

    def __init__(self, job: Job, context: WorkerContext) -> None:
        self._job, self._context, self._store = job, context, context.store
        self._folder = context.store.job_folder(job.id)
        self._publisher = ModelPublisher(job, context)
        self._events = TrainerEvents(job, context.store, self._publisher)
        self._lease_lost = False  # cancelled, paused, or claimed by another worker
        self._load = load_per_core()  # of the machine before the trainer starts
        self._oom_kills = out_of_memory.count_kills()
        self._peak_memory_bytes: int | None = None

    def run(self) -> None:
        """Run the job to its next state. Raises JobError if the job failed; StorageFaultError for a storage fault of
        the trainer."""
        if not self._wait_for_earlier_trainer():
            return
        self._store.job_states.restore(self._job.id, self._folder)
        spec = job_spec_builder.build(self._job, self._context)
        spec.write(self._folder)
        jobs = self._store.jobs
        if not jobs.transition(self._job.id, ("queued",), "running", job_messages.STARTED, release=False):
            return
        weights = self._context.catalogue.title(self._job.base)
        jobs.record(self._job.id, job_messages.open_weights(self._job.model, weights))
        self._events.replay(self._folder)
        self._finish(self._run_trainer(), spec)

    def _wait_for_earlier_trainer(self) -> bool:
        """Wait for a trainer whose worker died, which may still be saving its state. False if the lease is lost
        meanwhile."""
        lock, queue = FileLock(self._folder / "trainer.lock"), self._store.jobs.queue
        while True:
            try:
                with lock.acquire(timeout=1):
                    return True
            except Timeout:
                if self._context.stop.is_set() or queue.heartbeat(self._job.id, self._job.owner) != "queued":
                    return False

    def _new_trainer(self) -> TrainerProcess:
        settings = self._context.settings
        if settings.launcher == "local":
            return LocalTrainerProcess(self._folder)
        memory_bytes = TrainingMemory(self._context).of(self._job)
        return RayTrainerProcess(self._folder, TrainerResources.of(TrainerHardware.of(settings), memory_bytes))

    def _run_trainer(self) -> int:
        """The exit code of the trainer."""
        trainer = self._new_trainer()
        trainer.start()

        def on_lease_lost(status: str | None) -> None:
            self._lease_lost = True
            if status in ("paused", "queued"):  # queued: paused, and resumed at once
                trainer.stop()
            else:
                trainer.kill()

        exited = threading.Event()
        stopper = threading.Thread(target=self._stop_with_worker, args=(trainer, exited), daemon=True)
        stopper.start()
        try:
            lease = Lease(self._store.jobs.queue, self._job.id, self._job.owner, ("running",), on_lease_lost)
            uploads = StateUploads(self._job, self._store, self._folder)
            usage = UsageReports(self._job, self._store, trainer)
            with lease, uploads, LiveTrackers(self._job, self._store, self._context.settings) as trackers:
                for fields in trainer.events():
                    event = protocol.parse_event(fields)
                    self._events.record(event)
                    if isinstance(event, protocol.Metrics):
                        trackers.log({"step": event.step, **event.metrics})
                        usage.add(event)
                        self._peak_memory_bytes = trainer.peak_memory_bytes() or self._peak_memory_bytes
                return trainer.wait()
        finally:
            exited.set()
            trainer.kill()
            trainer.wait()
            stopper.join()

    def _stop_with_worker(self, trainer: TrainerProcess, exited: threading.Event) -> None:
        while not exited.wait(0.1):
            if self._context.stop.is_set():
                trainer.stop()
                return

    def _finish(self, code: int, spec: JobSpec) -> None:
        events = self._events
        if self._lease_lost:
            return
        if events.error:
            raise events.error
        if events.node_loss:
            self._context.stop.wait(_AFTER_NODE_LOSS_S)
            self._requeue(job_messages.node_lost(events.node_loss), self._attempts_if_blameless())
            return
        if code == 0 and events.trained_tokens is not None and events.last_checkpoint:
            self._record_rate(spec)
            self._store.jobs.record(self._job.id, job_messages.COMPARING)
            self._publisher.publish_final(events.last_checkpoint, events.trained_tokens, self._attempt())
        elif code == protocol.STOPPED:
            self._requeue(job_messages.STOPPED, 0)
        else:
            self._handle_crash(code)

    def _record_rate(self, spec: JobSpec) -> None:
        """Record the speed of the job for `luthier estimate`, which covers supervised jobs in one process on this
        machine."""
        measured, is_local = self._events.throughput(), self._context.settings.launcher == "local"
        if measured is None or not is_local or self._job.method_type != "supervised" or spec.processes > 1:
            return
        key = rate_key(Path(spec.base), spec.device, spec.precision, spec.threads, full=spec.tuning == "full")
        try:
            rate = Rate(*measured, now(), self._load, "job", peak_memory_bytes=self._peak_memory_bytes)
            add_rate(self._context.catalogue.cache, key, rate)
        except OSError as error:  # the job matters more
            _log.warning("the rate of %s is not kept: %s", self._job.id, error)

    def _attempt(self) -> int:
        """The number of consecutive runs without a new step, counted from 1."""
        return 1 if self._events.made_progress else self._job.attempts + 1

    def _attempts_if_blameless(self) -> int:
        """The number of failed attempts after this run, which does not count as one."""
        return 0 if self._events.made_progress else self._job.attempts

    def _handle_crash(self, code: int) -> None:
        """Requeues the job. Raises JobError after too many attempts without a new step.

        A trainer that was terminated externally does not count as a failed attempt, however often this happens.
        """
        if self._was_killed_from_outside(code):
            self._context.stop.wait(_AFTER_KILL_S)
            event = job_messages.trainer_killed(job_messages.exit_description(code))
            self._requeue(event, self._attempts_if_blameless())
            return
        attempts = self._attempt()
        if attempts >= MAX_ATTEMPTS:
            log = (self._folder / "trainer.log").read_text(encoding="utf-8", errors="replace").strip()
            message = job_messages.trainer_died_error(attempts, code, log[-_LOG_CHARACTERS:])
            raise JobError("trainer_died", message)
        self._requeue(job_messages.trainer_died(job_messages.exit_description(code)), attempts)

    def _was_killed_from_outside(self, code: int) -> bool:
        """Whether the trainer was terminated externally. SIGKILL counts only if the kernel reports no kill for
        memory meanwhile."""
        if -code == signal.SIGKILL and (self._oom_kills is None or out_of_memory.count_kills() != self._oom_kills):
            return False
        return -code in _FROM_OUTSIDE

    def _requeue(self, event: Event, attempts: int) -> None:
        self._store.jobs.transition(
            self._job.id, ("running",), "queued", event, attempts=attempts, estimated_finish=None
        )


def delete_work_files(folder: Path) -> None:
    """Delete the data, state and checkpoints of a finished job; its specification and its trainer's log are kept."""
    for path in folder.iterdir():
        if path.name in _KEPT_FILES:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
