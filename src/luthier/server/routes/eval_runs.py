"""`/v1/evals/{eval_id}/runs`: a data source graded by the criteria of an eval; a request becomes a row, which the
worker claims.
"""

import json

from fastapi import APIRouter, Request

from luthier.evaluation.evals.rows import item_problem
from luthier.evaluation.graders.model_graders import message_templates
from luthier.evaluation.graders.templates import path_error, template_error
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import list_page
from luthier.server.routes.evals import Order, PageLimit
from luthier.server.routes.input_files import require_file
from luthier.server.state import State, StateDep
from luthier.store import StoredEval
from luthier.types.common import ListPage
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.eval_sources import (
    MAX_CONTENT_BYTES,
    DataSource,
    FileContent,
    FileId,
    InputMessages,
    JsonlDataSource,
    MessagesReference,
    SampledDataSource,
    model_of,
)
from luthier.types.evals import CreateEvalRunRequest, EvalRun, EvalRunDeleted, OutputItem, OutputItemStatus, RunStatus

router = APIRouter(prefix="/v1/evals/{eval_id}/runs", tags=["evals"], route_class=StrictRoute)
_PURPOSES = ("evals", "fine-tune", "user_data")


@router.post("", status_code=201)
def create(eval_id: str, body: CreateEvalRunRequest, request: Request, state: StateDep) -> EvalRun:
    """Rejects requests that are invalid by themselves; a file is read when the run begins."""
    of_eval = state.store.evals.retrieve(eval_id)
    owner = state.within(of_eval.project)  # the project that the run belongs to
    _check_data_source(owner, of_eval, body.data_source)
    model = model_of(body.data_source)
    run = owner.store.eval_runs.create(
        eval_id,
        name=body.name or model,
        model=model or "",
        data_source=body.data_source.model_dump(by_alias=True, exclude_none=True),
        metadata=body.metadata or {},
    )
    return _with_url(request, run)


def _check_data_source(state: State, of_eval: StoredEval, data_source: DataSource) -> None:
    """Raises BadRequestError that names the parameter."""
    source = data_source.source
    if isinstance(source, FileContent):
        _check_content(of_eval, source)
    elif isinstance(source, FileId):
        require_file(state, source.id, "data_source.source.id", _PURPOSES, f"a run needs one of {', '.join(_PURPOSES)}")
    if not isinstance(data_source, JsonlDataSource):
        _check_sampling(state, data_source)


def _check_content(of_eval: StoredEval, source: FileContent) -> None:
    param = "data_source.source.content"
    if sum(len(json.dumps(row.model_dump())) for row in source.content) > MAX_CONTENT_BYTES:
        message = f"Invalid '{param}': it has more than {MAX_CONTENT_BYTES:,} bytes. Upload it as a file instead."
        raise BadRequestError(message, param=param)
    for index, row in enumerate(source.content):
        problem = item_problem(of_eval.item_schema, row.item)
        if problem:
            param = f"{param}[{index}].item"
            raise BadRequestError(f"Invalid '{param}': {problem}.", param=param, code="invalid_item")


def _check_sampling(state: State, data_source: SampledDataSource) -> None:
    messages, sampling = data_source.input_messages, data_source.sampling_params
    if data_source.model is None:
        if messages or sampling:
            param = "data_source.model"
            message = f"Missing required parameter: '{param}', the model that answers the 'input_messages'."
            raise BadRequestError(message, param=param, code="missing_required_parameter")
        return
    if messages is None and isinstance(data_source.source, FileContent | FileId):
        param = "data_source.input_messages"
        message = f"Missing required parameter: '{param}', the messages that '{data_source.model}' answers."
        raise BadRequestError(message, param=param, code="missing_required_parameter")
    if messages is not None:
        _check_messages(messages)
    try:
        state.models.resolve(data_source.model)
    except NotFoundError as error:
        raise BadRequestError(error.message, param="data_source.model", code="model_not_found") from None


def _check_messages(messages: InputMessages) -> None:
    if isinstance(messages, MessagesReference):
        problem = path_error(messages.item_reference)
        if problem or not messages.item_reference.startswith("item"):
            param = "data_source.input_messages.item_reference"
            raise BadRequestError(f"Invalid '{param}': it must be a path such as 'item.input'.", param=param)
        return
    for index, message in enumerate(messages.template):
        for text in message_templates(message):
            problem = template_error(text)
            if problem:
                param = f"data_source.input_messages.template[{index}].content"
                raise BadRequestError(f"Invalid '{param}': {problem}.", param=param, code="invalid_value")


def _with_url(request: Request, run: EvalRun) -> EvalRun:
    url = f"{str(request.base_url).rstrip('/')}/v1/evals/{run.eval_id}/runs/{run.id}"
    return run.model_copy(update={"report_url": url})


@router.get("")
def list_runs(
    eval_id: str,
    request: Request,
    state: StateDep,
    after: str | None = None,
    limit: PageLimit = 20,
    order: Order = "asc",
    status: RunStatus | None = None,
) -> ListPage[EvalRun]:
    state.store.evals.retrieve(eval_id)
    page = state.store.eval_runs.list(eval_id, status=status, limit=limit, after=after, ascending=order == "asc")
    answer = list_page(page)
    answer.data = [_with_url(request, run) for run in page.data]
    return answer


@router.get("/{run_id}")
def retrieve(eval_id: str, run_id: str, request: Request, state: StateDep) -> EvalRun:
    return _with_url(request, state.store.eval_runs.retrieve(eval_id, run_id))


@router.post("/{run_id}")
@router.post("/{run_id}/cancel")
def cancel(eval_id: str, run_id: str, request: Request, state: StateDep) -> EvalRun:
    """Graded items are kept. OpenAI's specification and older clients have no `/cancel`, newer clients do."""
    return _with_url(request, state.store.eval_runs.cancel(eval_id, run_id))


@router.delete("/{run_id}")
def delete(eval_id: str, run_id: str, state: StateDep) -> EvalRunDeleted:
    state.store.eval_runs.delete(eval_id, run_id)
    return EvalRunDeleted(run_id=run_id)


@router.get("/{run_id}/output_items")
def list_output_items(
    eval_id: str,
    run_id: str,
    state: StateDep,
    after: str | None = None,
    limit: PageLimit = 20,
    order: Order = "asc",
    status: OutputItemStatus | None = None,
) -> ListPage[OutputItem]:
    """The items that have been graded so far."""
    runs = state.store.eval_runs
    page = runs.items(eval_id, run_id, status=status, limit=limit, after=after, ascending=order == "asc")
    return list_page(page)


@router.get("/{run_id}/output_items/{output_item_id}")
def retrieve_output_item(eval_id: str, run_id: str, output_item_id: str, state: StateDep) -> OutputItem:
    return state.store.eval_runs.item(eval_id, run_id, output_item_id)
