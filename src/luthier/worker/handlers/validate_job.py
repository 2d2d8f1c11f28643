"""`validating_files`: checks a job's files in place, surveys the training file, and prepares the base model.

The training file is parsed once for both purposes: the survey is stored in the job's folder for the trainer. Then every
example is rendered as by the trainer, so that the job fails here if the base model cannot be trained on it.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from luthier.base_config import context_tokens
from luthier.catalogue import Catalogue
from luthier.data.check.file_check import check_file, job_error
from luthier.data.check.quality.runner import QualityRunner
from luthier.data.examples.adapter_metadata import Survey
from luthier.data.file_renderer import renderer_of_files
from luthier.data.findings import Report
from luthier.data.rendering.renderer import Renderer
from luthier.data.token_stats import measure
from luthier.store import Event, Job, Store
from luthier.training.job_spec import TRAIN, VALID
from luthier.types.errors import BaseModelError, CorruptDataError, JobError, NotFoundError
from luthier.weights import lora_targets

_MIN_TRAINING_EXAMPLES, _MIN_VALIDATION_EXAMPLES = 10, 1


class _InputFile(NamedTuple):
    """A file of the job: the request's field, the file's id, its name in the job's folder."""

    param: str
    file_id: str
    name: str
    minimum_examples: int


def validate(job: Job, store: Store, catalogue: Catalogue, default_targets: str) -> None:
    """Raises JobError, with which the job fails."""
    files = [_InputFile("training_file", job.training_file, TRAIN, _MIN_TRAINING_EXAMPLES)]
    message = f"Validating training file: {job.training_file}"
    if job.validation_file:
        files.append(_InputFile("validation_file", job.validation_file, VALID, _MIN_VALIDATION_EXAMPLES))
        message += f" and validation file: {job.validation_file}"
    store.jobs.record(job.id, Event(message, key="validating"))
    reports = [_validate_file(file, job, store) for file in files]
    try:
        base = catalogue.folder(job.base, lambda message: store.jobs.record(job.id, Event(message, key=message)))
        if job.options.tuning == "lora":
            lora_targets(base, job.options.targets or default_targets)
        renderer, context = _renderer(base, files, job, store), context_tokens(base)
    except BaseModelError as error:
        raise JobError("base_model_unavailable", str(error), "model") from error
    for file, report in zip(files, reports, strict=True):
        _validate_on_base(file, job, store, report, renderer, context)


def _renderer(base: Path, files: list[_InputFile], job: Job, store: Store) -> Renderer:
    """The renderer, with the template of the adapter that the job continues from, if any."""
    parent = store.models.find(job.parent) if job.parent else None
    if parent and not parent.standalone:
        return Renderer(base, parent.adapter / "chat_template.jinja")
    return renderer_of_files(base, [store.job_folder(job.id) / file.name for file in files], job.method_type)


def _validate_on_base(
    file: _InputFile, job: Job, store: Store, report: Report, renderer: Renderer, context: int
) -> None:
    """Add to the report the examples that the base model rejects or truncates. Raises JobError for an example that
    it cannot be trained on."""
    path = store.job_folder(job.id) / file.name
    findings = measure(path, renderer, context, method=job.method_type, sample_bytes=path.stat().st_size).findings
    for finding in findings:
        report.add(finding)
    if findings:
        _record_report(file, job, store, report, Counter(finding.code for finding in findings))
    error = job_error(report, file_id=file.file_id, param=file.param)
    if error:
        raise error


def _validate_file(file: _InputFile, job: Job, store: Store) -> Report:
    """The report, without errors. Raises JobError with the first of them."""
    folder = store.job_folder(job.id)
    survey = Survey() if file.name == TRAIN else None
    report = check_file(
        _place(file, folder, store),
        method=job.method_type,
        minimum_examples=file.minimum_examples,
        quality=QualityRunner(),
        survey=survey,
    )
    _record_report(file, job, store, report, report.counts)
    error = job_error(report, file_id=file.file_id, param=file.param)
    if error:
        raise error
    if survey:
        survey.metadata().write(folder)
    return report


def _place(file: _InputFile, folder: Path, store: Store) -> Path:
    """The file's content in the job's folder, where it outlives the deletion of the file."""
    target = folder / file.name
    try:
        store.files.place(file.file_id, target)
    except (NotFoundError, FileNotFoundError) as error:
        message = f"File '{file.file_id}' does not exist any more."
        raise JobError(f"invalid_{file.param}", message, file.param) from error
    except CorruptDataError as error:
        raise JobError(str(error.code), error.message, file.param) from error
    return target


def _record_report(file: _InputFile, job: Job, store: Store, report: Report, new: Counter[str]) -> None:
    """Store the report. `new`: the counts, by code, of the findings that no event has listed yet; a validation repeated
    after a crash lists the same ones.
    """
    file_id = file.file_id
    store.files.save_report(file_id, {"object": "file.report", "file_id": file_id, **report.to_dict("en")})
    if new:
        counts = ", ".join(f"{code} x{count}" for code, count in new.items())
        message = f"Findings in {file_id}: {counts}. All of them: GET /v1/files/{file_id}/report"
        store.jobs.record(job.id, Event(message, level="info" if report.ok else "warn", key=message))
