"""`validating_files`: the files are copied to the job's folder and checked; the base model is made ready."""

from pathlib import Path

from luthier.catalogue import Catalogue
from luthier.data.check.file_check import check_file, job_error
from luthier.data.check.quality.runner import QualityRunner
from luthier.store import Event, Job, Store
from luthier.types.errors import BaseModelError, JobError, NotFoundError
from luthier.weights import lora_targets

TRAIN, VALID = "train.jsonl", "valid.jsonl"
_LEAST_EXAMPLES = 10


def validate(job: Job, store: Store, catalogue: Catalogue, default_targets: str) -> None:
    """Raises JobError as the job shall show it."""
    files = [("training_file", job.training_file, TRAIN, _LEAST_EXAMPLES)]
    named = f"training file: {job.training_file}"
    if job.validation_file:
        files.append(("validation_file", job.validation_file, VALID, 1))
        named += f" and validation file: {job.validation_file}"
    store.jobs.record(job.id, Event(f"Validating {named}"))
    folder = store.job_folder(job.id)
    for param, file_id, name, least in files:
        _check(store, job.id, folder / name, file_id, param, least, job.method_type)
    if job.integrations:
        message = "Integrations are not available on this server; metrics are in the events and the result file only"
        store.jobs.record(job.id, Event(message, level="warn"))
    try:
        base = catalogue.folder(job.base, lambda message: store.jobs.record(job.id, Event(message)))
        asked = job.options
        if asked.tuning == "lora":
            lora_targets(base, asked.targets or default_targets)
    except BaseModelError as error:
        raise JobError("base_model_unavailable", str(error), "model") from error


def _check(store: Store, job_id: str, target: Path, file_id: str, param: str, least: int, method: str) -> None:
    try:
        store.files.copy(file_id, target)
    except (NotFoundError, FileNotFoundError) as error:
        message = f"File '{file_id}' does not exist any more."
        raise JobError(f"invalid_{param}", message, param) from error
    report = check_file(target, method=method, minimum_examples=least, quality=QualityRunner())
    store.files.keep_report(file_id, {"object": "file.report", "file_id": file_id, **report.to_dict("en")})
    if report.findings:
        counts = ", ".join(f"{code} x{count}" for code, count in report.counts.items())
        message = f"Findings in {file_id}: {counts}. All of them: GET /v1/files/{file_id}/report"
        store.jobs.record(job_id, Event(message, level="info" if report.ok else "warn"))
    found = job_error(report, file_id=file_id, param=param)
    if found:
        raise found
