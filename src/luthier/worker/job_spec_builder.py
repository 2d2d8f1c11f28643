"""`job.json` for the trainer: from a job's row, its metadata, and the server's settings."""

from dataclasses import replace

from luthier import __version__
from luthier.store import FineTunedModel, Job, Store
from luthier.training.job_spec import TRAIN, VALID, JobSpec
from luthier.types.errors import CorruptDataError, JobError
from luthier.types.names import TUNED
from luthier.worker.context import WorkerContext
from luthier.worker.trainer_hardware import TrainerHardware

_FIXED_AT_START = ("lora_rank", "lora_alpha", "lora_targets", "definitions", "result_turns", "data_sha256")


def build(job: Job, context: WorkerContext) -> JobSpec:
    """Build the specification from the job's options, otherwise the settings. A resumed job keeps the shape of its
    adapter.

    Raises JobError if the model to continue from was deleted.
    """
    store, settings = context.store, context.settings
    parent = store.models.find(job.parent) if job.parent else None
    if job.parent and not parent:
        raise JobError("model_not_available", f"The model {job.parent} does not exist any more.", "model")
    _verify(context, job, parent)
    options = job.options
    rank, hardware = options.rank or settings.lora_rank, TrainerHardware.of(settings)
    spec = JobSpec(
        base=str(context.catalogue.folder(job.base)),
        base_name=job.base,
        seed=job.seed,
        method=job.method_type,
        hyperparameters=job.hyperparameters,
        tuning=options.tuning,
        validate_at=options.validate_at,
        early_stopping=options.early_stopping,
        parent=str(parent.adapter) if parent and not parent.standalone else None,
        device=hardware.device,
        precision=hardware.dtype,
        threads=hardware.threads,
        processes=hardware.processes,
        shard_base=settings.shard_base,
        definitions=settings.definitions,
        result_turns=settings.result_turns,
        cache=str(context.catalogue.cache),
        lora_rank=rank,
        lora_alpha=options.alpha or settings.lora_alpha or 2 * rank,
        lora_targets=options.targets or settings.lora_targets,
        code_version=__version__,
        data_sha256=_data_sha256(job, store),
        fencing_token=job.fencing_token,
    )
    folder = store.job_folder(job.id)
    if not (folder / "job.json").exists():
        return spec
    earlier = JobSpec.read(folder)
    return replace(spec, **{name: getattr(earlier, name) for name in _FIXED_AT_START})


def _data_sha256(job: Job, store: Store) -> dict[str, str]:
    """Checksums of the job's files, which may be deleted before their model is."""
    files = {TRAIN: job.training_file, VALID: job.validation_file}
    digests = {name: store.files.sha256(file_id) for name, file_id in files.items() if file_id}
    return {name: digest for name, digest in digests.items() if digest}


def _verify(context: WorkerContext, job: Job, parent: FineTunedModel | None) -> None:
    """Raises JobError if the fine-tuned model that training starts from is damaged."""
    folder = parent.adapter if parent else None
    if job.base.startswith(TUNED):
        folder = context.store.models_folder / job.base.removeprefix(TUNED)
    if folder:
        try:
            context.store.checksums.verify(folder, f"The model {job.parent}")
        except CorruptDataError as error:
            raise JobError(str(error.code), error.message, "model") from error
