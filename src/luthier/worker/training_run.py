"""`running`: one run of a job's trainer, from the row to the fine-tuned model.

Whatever the trainer says is recorded as it says it. Metrics and checkpoints are kept once per step, so a job that
is run again from its saved state, by this worker or another, tells its story without gaps or repeats.
"""

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from luthier.catalogue import Catalogue
from luthier.data.examples import adapter_metadata
from luthier.hardware import choose as choose_hardware
from luthier.inference import EnginePool
from luthier.settings import Settings
from luthier.store import Event, Job, Store
from luthier.training.job_spec import JobSpec
from luthier.types.common import now
from luthier.types.errors import JobError
from luthier.types.fine_tuning import JobStatus
from luthier.types.names import checkpoint_name, fine_tuned_name
from luthier.worker import parity
from luthier.worker.handlers.validate_job import TRAIN
from luthier.worker.job_messages import metrics_event, result_file
from luthier.worker.lease import Lease
from luthier.worker.trainer_process import LocalTrainerProcess, TrainerProcess, earlier_events

_STOPPED = 75  # the trainer's exit code when it was asked to stop and saved its state
MOST_ATTEMPTS = 3
_AS_BEGUN = ("lora_rank", "lora_alpha", "lora_targets", "definitions")
_KEPT = ("job.json", "trainer.log", "trainer.lock")


class Run:
    """One job in the hands of one worker. `stop` is set when the worker has to end."""

    def __init__(
        self,
        job: Job,
        owner: str,
        store: Store,
        settings: Settings,
        catalogue: Catalogue,
        engines: EnginePool,
        stop: threading.Event,
    ) -> None:
        self._job, self._owner, self._store = job, owner, store
        self._settings, self._catalogue, self._engines, self._stop = settings, catalogue, engines, stop
        self._id: str = job.id
        self._folder = store.job_folder(self._id)
        self._was_taken = False  # cancelled, paused, or in another worker's hands
        self._finished: dict[str, Any] | None = None
        self._failed: JobError | None = None
        self._last: dict[str, Any] | None = None  # the newest checkpoint event
        self._first_step: tuple[int, float] | None = None  # of this run, with its time
        self._known_step = 0  # the newest step of earlier runs: a step that is taken again is no progress
        self._progress = False
        self._taught = adapter_metadata.Taught()
        self._total_steps = 0

    def run(self) -> None:
        """Ends with the job in its next state, whatever happens. Raises JobError when the job failed."""
        self._spec().write(self._folder)
        self._taught = self._survey()
        if not self._earlier_trainer_has_ended():
            return
        if not self._store.jobs.transition(
            self._id, ("queued",), "running", Event("Fine-tuning job started"), release=False
        ):
            return
        weights = self._catalogue.title(self._job.base)
        self._store.jobs.record(self._id, Event(f"{self._job.model} is served by open weights here: {weights}"))
        self._known_step = self._store.jobs.last_step(self._id)
        for event in earlier_events(self._folder):
            if event["type"] in ("metrics", "checkpoint"):
                self._hear(event)
        self._known_step = self._store.jobs.last_step(self._id)
        self._first_step, self._progress = None, False
        code = self._run_child()
        self._end(code)

    def _earlier_trainer_has_ended(self) -> bool:
        """Waits for one whose worker died and that still saves its state; False when the job is not ours any more."""
        lock = FileLock(self._folder / "trainer.lock")
        while True:
            try:
                with lock.acquire(timeout=1):
                    return True
            except Timeout:
                if self._stop.is_set() or self._store.jobs.heartbeat(self._id, self._owner) != "queued":
                    return False

    def _spec(self) -> JobSpec:
        job, settings, asked = self._job, self._settings, self._job.options
        parent = self._store.models.find(job.parent) if job.parent else None
        if job.parent and not parent:
            raise JobError("model_not_available", f"The model {job.parent} does not exist any more.", "model")
        made = JobSpec(
            base=str(self._catalogue.folder(job.base)),
            base_name=job.base,
            seed=job.seed,
            method=job.method_type,
            hyperparameters=job.hyperparameters,
            tuning=asked.tuning,
            validate_at=asked.validate_at,
            parent=str(parent.adapter) if parent and not parent.whole else None,
            device=settings.device,
            precision=settings.precision,
            threads=settings.threads,
            definitions=settings.definitions,
            cache=str(settings.cache),
            **self._adapter(),
        )
        if not (self._folder / "job.json").exists():
            return made
        earlier = JobSpec.read(self._folder)  # a job goes on as it began, whatever the settings say by now
        return replace(made, **{name: getattr(earlier, name) for name in _AS_BEGUN})

    def _adapter(self) -> dict[str, Any]:
        """Its shape: what the job asks for, else the settings. Alpha is twice the rank unless it is given."""
        asked, settings = self._job.options, self._settings
        rank = asked.rank or settings.lora_rank
        alpha = asked.alpha or settings.lora_alpha or 2 * rank
        return {"lora_rank": rank, "lora_alpha": alpha, "lora_targets": asked.targets or settings.lora_targets}

    def _survey(self) -> adapter_metadata.Taught:
        """What the training data says of itself, for the model to be served as it was taught."""
        parent = self._store.models.find(self._job.parent) if self._job.parent else None
        return adapter_metadata.survey(self._folder / TRAIN, adapter_metadata.read(parent.adapter) if parent else None)

    def _run_child(self) -> int:
        child = LocalTrainerProcess(self._folder)
        child.start()

        def taken(status: JobStatus | None) -> None:
            self._was_taken = True
            if status in ("paused", "queued"):  # queued: paused, and resumed at once
                child.stop()
            else:
                child.kill()

        over = threading.Event()
        stopper = threading.Thread(target=self._stop_child, args=(child, over), daemon=True)
        stopper.start()
        try:
            with Lease(self._store, self._id, self._owner, "running", taken):
                for event in child.events():
                    self._hear(event)
                return child.wait()
        finally:
            over.set()
            child.kill()
            child.wait()
            stopper.join()

    def _stop_child(self, child: TrainerProcess, over: threading.Event) -> None:
        while not over.wait(0.1):
            if self._stop.is_set():
                child.stop()
                return

    def _hear(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "resolved":
                self._resolved(event)
            case "metrics":
                self._metrics(event)
            case "checkpoint":
                self._checkpoint(event)
            case "note":
                self._store.jobs.record(self._id, Event(event["message"]))
            case "finished":
                self._finished = event
            case "failed":
                self._failed = JobError(event["code"], event["message"], event["param"])

    def _resolved(self, event: dict[str, Any]) -> None:
        """Numbers take the place of `auto`."""
        method = self._job.method_with(event["hyperparameters"])
        events = [Event(event["message"])]
        if event["truncated"]:
            message = f"{event['truncated']} examples are longer than the base model's context and lost their end"
            events.append(Event(message, level="warn"))
        self._store.jobs.record(self._id, *events, method=method)

    def _metrics(self, event: dict[str, Any]) -> None:
        step, total = event["step"], event["total_steps"]
        self._total_steps = total
        if step <= self._known_step:
            return
        self._first_step = self._first_step or (step, time.monotonic())
        first, since = self._first_step
        finish = None
        if step > first:
            finish = now() + round((total - step) * (time.monotonic() - since) / (step - first))
        self._progress = True
        made = metrics_event(step, total, event["metrics"])
        self._store.jobs.record(self._id, made, estimated_finish=finish)

    def _checkpoint(self, event: dict[str, Any]) -> None:
        self._last = event
        step = event["step"]
        if step < self._total_steps:  # the last one becomes the fine-tuned model
            job = self._job
            name = checkpoint_name(job.model, self._settings.organization, job.suffix, step)
            said = Event(f"Checkpoint created at step {step} with Snapshot ID: {name}")
            self._keep(event, name, said)

    def _keep(self, event: dict[str, Any], name: str, said: Event) -> str | None:
        source = self._folder / "checkpoints" / event["folder"]
        if source.exists():
            self._taught.write(source)
        return self._store.models.add_checkpoint(
            self._job,
            name=name,
            step=event["step"],
            metrics={"step": event["step"], **event["metrics"]},
            source=source,
            call_form=self._taught.call_form,
            event=said,
            keep=self._settings.keep_checkpoints,
        )

    def _end(self, code: int) -> None:
        if self._was_taken:
            return
        if self._failed:
            raise self._failed
        if code == 0 and self._finished and self._last:
            self._succeed(self._finished["trained_tokens"], self._last)
        elif code == _STOPPED:
            self._requeue("The server stopped; the job goes on from its last step when the server is back", 0)
        else:
            self._crashed(code)

    def _succeed(self, trained_tokens: int, last: dict[str, Any]) -> None:
        job = self._job
        name = fine_tuned_name(job.model, self._settings.organization, job.suffix)
        self._prove(self._folder / "checkpoints" / last["folder"])
        kept = self._keep(last, name, Event(f"New fine-tuned model created: {name}"))
        if kept is None:
            if self._store.jobs.get(self._id).status == "running":
                raise JobError("model_deleted", "The fine-tuned model was deleted before its job had ended.")
            return  # cancelled at the last moment
        content = result_file(self._store.jobs.metrics(self._id))

        def fill(out: IO[bytes]) -> None:
            out.write(content)

        result = self._store.within(job.project).files.create("step_metrics.csv", "fine-tune-results", fill)
        done = self._store.jobs.transition(
            self._id,
            ("running",),
            "succeeded",
            Event("The job has successfully completed"),
            fine_tuned_model=kept,
            trained_tokens=trained_tokens,
            result_files=[result.id],
            finished_at=now(),
            estimated_finish=None,
        )
        if not done:  # cancelled or paused at the last moment: the caller was told so, and that stands
            self._store.files.delete(result.id)
            if self._store.jobs.get(self._id).status == "cancelled":
                self._store.models.delete(kept)

    def _prove(self, made: Path) -> None:
        """Once: a folder that is not here any more was proved, and taken over, by an earlier run."""
        if not made.exists():
            return
        whole = self._job.options.tuning == "full"
        base = made if whole else self._catalogue.folder(self._job.base)
        _, precision = choose_hardware(self._settings.device, self._settings.precision)
        try:
            said = parity.check(lambda: self._engines.engine(base), made, precision, whole=whole)
        finally:
            if whole:  # it is served from another folder
                self._engines.discard(made)
        self._store.jobs.record(self._id, Event(said))

    def _crashed(self, code: int) -> None:
        attempts = 1 if self._progress else self._job.attempts + 1
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if attempts >= MOST_ATTEMPTS:
            log = (self._folder / "trainer.log").read_text(encoding="utf-8", errors="replace").strip()
            hint = " Signal 9 often means that memory ran out." if code == -9 else ""
            raise JobError("trainer_died", f"The trainer died {attempts} times ({how}).{hint} {log[-500:]}")
        self._requeue(f"The trainer died ({how}); the job goes on from its last saved step", attempts)

    def _requeue(self, message: str, attempts: int) -> None:
        event = Event(message, level="warn")
        self._store.jobs.transition(self._id, ("running",), "queued", event, attempts=attempts, estimated_finish=None)


def clear(folder: Path) -> None:
    """What a job that is over leaves: its trainer's log, for people."""
    for path in folder.iterdir():
        if path.name in _KEPT:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
