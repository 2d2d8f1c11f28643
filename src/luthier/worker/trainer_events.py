"""Records the events of a trainer on its job: messages, metrics, resolved hyperparameters, checkpoints.

Metrics and checkpoints are recorded once per step. A job that is resumed, by this worker or another, therefore has
neither gaps nor repeats, however often a step is computed.
"""

import time
from pathlib import Path

from luthier.store import Job, Store
from luthier.training import protocol
from luthier.types.common import now
from luthier.types.errors import JobError, LuthierError
from luthier.types.storage_faults import StorageFaultError
from luthier.worker import job_messages
from luthier.worker.model_publisher import ModelPublisher
from luthier.worker.trainer_process import earlier_events


class TrainerEvents:
    """Records events. `made_progress`: whether this run has computed a step that no earlier run recorded."""

    def __init__(self, job: Job, store: Store, publisher: ModelPublisher) -> None:
        self._job, self._store, self._publisher = job, store, publisher
        self._recorded_step = 0
        self._total_steps = 0
        self._first_step: tuple[int, float] | None = None  # of this run, and when it was recorded
        self._last_step = (0, 0.0)
        self.made_progress = False
        self.last_checkpoint: protocol.Checkpoint | None = None
        self.trained_tokens: int | None = None
        self.error: JobError | StorageFaultError | None = None
        self.node_loss: str | None = None

    def replay(self, folder: Path) -> None:
        """Record events of earlier runs, of any release, that their worker did not record before it died."""
        self._recorded_step = self._store.jobs.last_step(self._job.id)
        for fields in earlier_events(folder):
            event = protocol.replayable(fields)
            if event:
                self.record(event)
        self._recorded_step = self._store.jobs.last_step(self._job.id)
        self._first_step, self.made_progress = None, False

    def record(self, event: protocol.Event) -> None:
        """Raises LuthierError for a trainer of another protocol version."""
        match event:
            case protocol.Started(protocol=version) if version != protocol.VERSION:
                raise LuthierError(
                    f"The trainer speaks protocol {version} and this worker {protocol.VERSION}: restart the server, "
                    "so that both are of the release that is installed"
                )
            case protocol.Metrics():
                self._record_metrics(event)
            case protocol.Checkpoint():
                self.last_checkpoint = event
                if event.step < self._total_steps and not event.final:
                    self._publisher.publish_checkpoint(event)
            case protocol.Finished(trained_tokens=tokens):
                self.trained_tokens = tokens
            case protocol.DiskFault():
                self.error = StorageFaultError(event.kind, event.message)
            case protocol.Failed():
                self.error = JobError(event.code, event.message, event.param)
            case protocol.NodeLost(reason=reason):
                self.node_loss = reason
            case protocol.Resolved(hyperparameters=hyperparameters):
                method = self._job.method_with(hyperparameters)
                self._store.jobs.record(self._job.id, *job_messages.trainer_notice(event), method=method)
            case _:
                self._store.jobs.record(self._job.id, *job_messages.trainer_notice(event))

    def throughput(self) -> tuple[float, int] | None:
        """Tokens per second and steps of this run of a finished job; None for fewer than two steps."""
        if self._first_step is None or not self.trained_tokens:
            return None
        steps, duration_s = self._last_step[0] - self._first_step[0], self._last_step[1] - self._first_step[1]
        if steps < 1 or duration_s <= 0:
            return None
        return self.trained_tokens / self._last_step[0] * steps / duration_s, steps

    def _record_metrics(self, event: protocol.Metrics) -> None:
        self._total_steps = event.total_steps
        if event.step <= self._recorded_step:
            return
        self._last_step = (event.step, time.monotonic())
        self._first_step = self._first_step or self._last_step
        self.made_progress = True
        self._store.jobs.record(
            self._job.id, job_messages.metrics_event(event), estimated_finish=self._estimated_finish(event)
        )

    def _estimated_finish(self, event: protocol.Metrics) -> int | None:
        """The estimated end in Unix seconds, from the mean duration of this run's steps; None at its first step."""
        first_step, since = self._first_step or (event.step, 0.0)
        if event.step == first_step:
            return None
        duration_s = (time.monotonic() - since) / (event.step - first_step)
        return now() + round((event.total_steps - event.step) * duration_s)
