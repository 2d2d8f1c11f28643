"""Publishes the checkpoints of a job as models: they are named and moved to the store, and the last one must pass
the parity gate."""

from pathlib import Path
from typing import IO

from luthier.data.examples import adapter_metadata
from luthier.store import Event, Job
from luthier.store.request_ids import seeded
from luthier.training.protocol import Checkpoint
from luthier.types.common import now
from luthier.types.errors import JobError
from luthier.types.names import checkpoint_name, fine_tuned_name
from luthier.worker import job_messages, parity
from luthier.worker.context import WorkerContext

MAX_PARITY_ATTEMPTS = 3


class ModelPublisher:
    """The engines of `context` are those that will serve the model."""

    def __init__(self, job: Job, context: WorkerContext) -> None:
        self._job, self._store, self._settings = job, context.store, context.settings
        self._catalogue, self._engines = context.catalogue, context.engines
        self._checkpoints = context.store.job_folder(job.id) / "checkpoints"

    def publish_checkpoint(self, checkpoint: Checkpoint) -> str | None:
        """Publish a checkpoint and return its name; None if the job has finished."""
        name = checkpoint_name(self._job.model, self._settings.organization, self._job.suffix, checkpoint.step)
        return self._publish(checkpoint, name, job_messages.checkpoint_created(checkpoint.step, name))

    def publish_final(self, checkpoint: Checkpoint, trained_tokens: int, attempt: int) -> None:
        """Publish the fine-tuned model and the result file, and set the job to `succeeded`. `attempt` counts from 1.

        Raises JobError if the parity gate fails, after keeping the model as a checkpoint, or if the model has been
        deleted meanwhile.
        """
        job, jobs = self._job, self._store.jobs
        name = fine_tuned_name(job.model, self._settings.organization, job.suffix)
        try:
            self._check_parity(self._checkpoints / checkpoint.folder, attempt)
        except JobError as error:
            checkpoint_model = self.publish_checkpoint(checkpoint)
            if checkpoint_model is None:
                raise
            raise JobError(
                error.code, job_messages.kept_as_checkpoint(error.message, checkpoint_model), error.param
            ) from error
        model = self._publish(checkpoint, name, job_messages.model_created(name))
        if model is None:
            if jobs.get(job.id).status == "running":
                raise JobError("model_deleted", "The fine-tuned model was deleted before its job had ended.")
            return  # cancelled at the last moment
        result_file_id = self._write_result_file()
        succeeded = jobs.transition(
            job.id,
            ("running",),
            "succeeded",
            job_messages.SUCCEEDED,
            fine_tuned_model=model,
            trained_tokens=trained_tokens,
            result_files=[result_file_id],
            finished_at=now(),
            estimated_finish=None,
        )
        if not succeeded:  # cancelled or paused at the last moment, which the caller has been told
            self._store.files.delete(result_file_id)
            if jobs.get(job.id).status == "cancelled":
                self._store.models.delete(model)

    def _publish(self, checkpoint: Checkpoint, name: str, event: Event) -> str | None:
        """Returns the model's name, which may come from an earlier run of the same step; None if the job has
        finished."""
        source, models = self._checkpoints / checkpoint.folder, self._store.models
        written = source if source.exists() else models.checkpoint_folder(self._job.id, checkpoint.step)
        return models.add_checkpoint(
            self._job,
            name=name,
            step=checkpoint.step,
            metrics={"step": checkpoint.step, **checkpoint.metrics},
            source=source,
            call_form=adapter_metadata.read(written).call_form,
            event=event,
            keep=self._settings.keep_checkpoints,
        )

    def _check_parity(self, model: Path, attempt: int) -> None:
        """A missing folder was checked and moved to the store by an earlier run.

        The attempt is recorded first: an engine may end this process.
        """
        if not model.exists():
            return
        if attempt > MAX_PARITY_ATTEMPTS:
            raise JobError("parity_failed", job_messages.parity_ended_worker(MAX_PARITY_ATTEMPTS))
        self._store.jobs.record(self._job.id, attempts=attempt)
        full = self._job.options.tuning == "full"
        base = model if full else self._catalogue.folder(self._job.base)
        _, precision = self._settings.hardware()
        try:
            report = parity.check(lambda: self._engines.engine(base), model, precision, full=full)
        finally:
            if full:  # requests will load it from its folder in the store
                self._engines.discard(model)
        self._store.jobs.record(self._job.id, job_messages.parity_checked(report))
        if report.eight_bits:
            self._store.jobs.record(self._job.id, job_messages.SERVED_IN_EIGHT_BITS)

    def _write_result_file(self) -> str:
        content = job_messages.result_file(self._store.jobs.metrics(self._job.id), self._job.model)

        def fill(out: IO[bytes]) -> None:
            out.write(content)

        files = self._store.within(self._job.project).files
        with seeded(f"{self._job.id}/result"):  # the file of an earlier run that died before the job succeeded
            return files.create("step_metrics.csv", "fine-tune-results", fill).id
