"""`/v1/fine_tuning/jobs`: a request becomes a row, which a worker claims."""

import secrets
from typing import Any

from fastapi import APIRouter, Request

from luthier.server.http.auth import CallerDep, require_priority
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import METADATA_PARAMETER, Limit, list_page, parse_metadata_filter
from luthier.server.model_resolver import ResolvedModel
from luthier.server.routes.graders import check_grader_form
from luthier.server.routes.input_files import require_file
from luthier.server.state import State, StateDep
from luthier.types import job_options
from luthier.types.common import ListPage
from luthier.types.errors import BadRequestError, BaseModelError, JobError, NotFoundError
from luthier.types.fine_tuning import (
    Checkpoint,
    CreateJobRequest,
    DPOHyperparameters,
    FineTuningJob,
    Hyperparameters,
    JobEvent,
)
from luthier.types.names import SUFFIX
from luthier.weights import lora_targets

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine_tuning"], route_class=StrictRoute)


@router.post("")
def create(body: CreateJobRequest, state: StateDep, caller: CallerDep) -> FineTuningJob:
    """Rejects requests that are invalid by themselves; the worker checks the files."""
    _require_file(state, body.training_file, "training_file")
    if body.validation_file:
        _require_file(state, body.validation_file, "validation_file")
    if body.suffix and not SUFFIX.fullmatch(body.suffix):
        message = f"Invalid 'suffix': '{body.suffix}'. Letters, digits, '-', '_' and '.' are allowed."
        raise BadRequestError(message, param="suffix", code="invalid_value")
    _check_reinforcement(body)
    target = _resolve_trainable(state, body.model)
    _check_options(body, continues=target.adapter is not None)
    require_priority(caller, job_options.priority(body.metadata), "metadata")
    _check_targets(state, body, target)
    return state.store.jobs.create(
        model=target.name,
        base=target.base,
        parent=target.fine_tuned,
        training_file=body.training_file,
        validation_file=body.validation_file,
        suffix=body.suffix,
        seed=secrets.randbelow(2**31) if body.seed is None else body.seed,
        method=_method(body),
        integrations=[integration.model_dump(exclude_none=True) for integration in body.integrations or []],
        metadata=body.metadata,
    )


@router.get("", openapi_extra=METADATA_PARAMETER)
def list_jobs(
    request: Request, state: StateDep, limit: Limit = 20, after: str | None = None
) -> ListPage[FineTuningJob]:
    """`metadata[key]=value` in the query selects jobs that have the pair, `metadata=null` those without metadata."""
    pairs = parse_metadata_filter(request)
    page = state.store.jobs.list(limit=limit, after=after, metadata=pairs, without_metadata=pairs is None)
    return list_page(page)


@router.get("/{job_id}")
def retrieve(job_id: str, state: StateDep) -> FineTuningJob:
    return state.store.jobs.retrieve(job_id)


@router.post("/{job_id}/cancel")
def cancel(job_id: str, state: StateDep) -> FineTuningJob:
    return state.store.jobs.cancel(job_id)


@router.post("/{job_id}/pause")
def pause(job_id: str, state: StateDep) -> FineTuningJob:
    """Responds with the job in its previous state: a running job becomes `paused` only after its current step.

    (OpenAI's specification has no status `paused` for this response.)
    """
    before = state.store.jobs.retrieve(job_id)
    state.store.jobs.pause(job_id)
    return before


@router.post("/{job_id}/resume")
def resume(job_id: str, state: StateDep) -> FineTuningJob:
    state.store.jobs.resume(job_id)
    return state.store.jobs.retrieve(job_id)


@router.get("/{job_id}/events")
def list_events(job_id: str, state: StateDep, limit: Limit = 20, after: str | None = None) -> ListPage[JobEvent]:
    page = state.store.jobs.events(job_id, limit=limit, after=after)
    return list_page(page)


@router.get("/{job_id}/checkpoints")
def list_checkpoints(job_id: str, state: StateDep, limit: Limit = 10, after: str | None = None) -> ListPage[Checkpoint]:
    page = state.store.jobs.checkpoints(job_id, limit=limit, after=after)
    return list_page(page)


def _require_file(state: State, file_id: str, param: str) -> None:
    require_file(state, file_id, param, ("fine-tune",), "fine-tuning needs a file with purpose 'fine-tune'")


def _resolve_trainable(state: State, name: str) -> ResolvedModel:
    """Raises BadRequestError for a model that this server cannot train."""
    message = f"Model {name} is not available for fine-tuning or does not exist."
    try:
        target = state.models.resolve(name)
    except NotFoundError:
        raise BadRequestError(message, param="model", code="model_not_available") from None
    if target.base is None:
        message += (
            f" On this server '{name}' is served upstream, and only base models on this server can be fine-tuned."
        )
        raise BadRequestError(message, param="model", code="model_not_available")
    return target


def _method(body: CreateJobRequest) -> dict[str, Any]:
    """The method for the job object. The deprecated top-level `hyperparameters` mean `supervised`."""
    method = body.method
    if method is None or method.type == "supervised":
        nested = method.supervised.hyperparameters if method and method.supervised else None
        if nested and body.hyperparameters and nested != body.hyperparameters:
            message = "'hyperparameters' and 'method.supervised.hyperparameters' contradict each other; send only one."
            raise BadRequestError(message, param="hyperparameters")
        chosen = nested or body.hyperparameters or Hyperparameters()
        return {"type": "supervised", "supervised": {"hyperparameters": chosen.model_dump()}}
    if body.hyperparameters:
        message = "'hyperparameters' apply only to the supervised method; send 'method.dpo.hyperparameters' instead."
        raise BadRequestError(message, param="hyperparameters")
    chosen = method.dpo.hyperparameters if method.dpo else DPOHyperparameters()
    return {"type": "dpo", "dpo": {"hyperparameters": chosen.model_dump()}}


def _check_options(body: CreateJobRequest, *, continues: bool) -> None:
    """Check the training options in the metadata; the base model's layers are checked when its files are present."""
    try:
        options = job_options.parse(body.metadata)
    except ValueError as error:
        raise BadRequestError(str(error), param="metadata", code="invalid_value") from None
    if options.early_stopping and not body.validation_file:
        key = job_options.EARLY_STOPPING
        message = f"The metadata '{key}' needs a 'validation_file', whose loss decides when to stop."
        raise BadRequestError(message, param="validation_file", code="missing_required_parameter")
    if continues and options.tuning == "lora" and options.adapter_keys:
        named = ", ".join(f"'{key}'" for key in options.adapter_keys)
        message = f"The model {body.model} is fine-tuned, so the shape of its adapter is fixed: remove {named}."
        raise BadRequestError(message, param="metadata", code="invalid_value")


def _check_targets(state: State, body: CreateJobRequest, target: ResolvedModel) -> None:
    """Reject layers that the base model does not have; the worker checks a base model that has yet to be downloaded."""
    catalogue, options = state.app.loader.catalogue, job_options.parse(body.metadata)
    if target.base is None or options.tuning == "full" or not catalogue.ready(target.base):
        return
    try:
        lora_targets(catalogue.folder(target.base), options.targets or state.settings.lora_targets)
    except BaseModelError as error:
        raise BadRequestError(str(error), param="model", code="model_not_available") from None
    except JobError as error:
        raise BadRequestError(error.message, param=error.param, code=error.code) from None


def _check_reinforcement(body: CreateJobRequest) -> None:
    """Reject the method for every model, after reporting other errors of the request."""
    if body.method is None or body.method.type != "reinforcement":
        if body.test_file:
            message = "Unknown parameter: 'test_file'. It belongs to the method 'reinforcement'."
            raise BadRequestError(message, param="test_file", code="unknown_parameter")
        return
    for param, value in (
        ("method.reinforcement", body.method.reinforcement),
        ("validation_file", body.validation_file or body.test_file),
    ):
        if value is None:
            message = f"Missing required parameter: '{param}'."
            raise BadRequestError(message, param=param, code="missing_required_parameter")
    if body.method.reinforcement:
        check_grader_form(body.method.reinforcement.grader, "method.reinforcement.grader")
    message = (
        "The method 'reinforcement' is not available on this server. Supported values are: 'supervised' and 'dpo'."
    )
    raise BadRequestError(message, param="method.type", code="unsupported_value")
