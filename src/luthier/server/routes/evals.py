"""`/v1/evals`: testing criteria and the shape of the items that they are applied to."""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from luthier.data.examples.json_schema import schema_error
from luthier.evaluation.evals.criteria import grade_criterion
from luthier.evaluation.graders import Sample
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import list_page
from luthier.server.routes.graders import check_grader, grader_context, in_grader_thread
from luthier.server.state import State, StateDep
from luthier.types.common import ListPage
from luthier.types.errors import BadRequestError
from luthier.types.evals import (
    CreateEvalRequest,
    Criteria,
    CustomConfig,
    Eval,
    EvalDeleted,
    Grade,
    GradeRequest,
    LogsConfig,
    UpdateEvalRequest,
)
from luthier.types.graders import TextSimilarity

router = APIRouter(prefix="/v1", tags=["evals"], route_class=StrictRoute)
PageLimit = Annotated[int, Query(ge=0, le=100)]
Order = Literal["asc", "desc"]
# The part of an answer that graders see, in OpenAI's schema.
_SAMPLE_SCHEMA = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object"}},
        "output_text": {"type": "string"},
        "output_json": {},
        "output_tools": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["choices"],
}


@router.post("/evals", status_code=201)
def create(body: CreateEvalRequest, state: StateDep) -> Eval:
    config = body.data_source_config
    if isinstance(config, CustomConfig):
        problem = schema_error(config.item_schema)
        if problem:
            param = "data_source_config.item_schema"
            raise BadRequestError(f"Invalid '{param}': {problem}.", param=param, code="invalid_schema")
    _check_criteria(state, body.testing_criteria)
    return state.store.evals.create(
        name=body.name,
        data_source_config=_stored_config(config),
        testing_criteria=[criterion.model_dump(exclude_none=True) for criterion in body.testing_criteria],
        metadata=body.metadata,
    )


def _check_criteria(state: State, criteria: Criteria) -> None:
    """Raises BadRequestError; PermissionDeniedError for Python criteria if those are disabled."""
    for index, criterion in enumerate(criteria):
        param = f"testing_criteria[{index}]"
        if isinstance(criterion, TextSimilarity) and criterion.pass_threshold is None:
            message = f"Missing required parameter: '{param}.pass_threshold'."
            raise BadRequestError(message, param=f"{param}.pass_threshold", code="missing_required_parameter")
        check_grader(state, criterion, param)
        grader_context(state, criterion, param)


def _stored_config(config: CustomConfig | LogsConfig) -> dict[str, Any]:
    if isinstance(config, LogsConfig):
        schemas: dict[str, Any] = {"item": {"type": "object"}, "sample": {"type": "object"}}
    else:
        schemas = {"item": config.item_schema}
        schemas |= {"sample": _SAMPLE_SCHEMA} if config.include_sample_schema else {}
    document = {"type": "object", "properties": schemas, "required": list(schemas)}
    metadata = {"metadata": config.metadata} if isinstance(config, LogsConfig) else {}
    return {"type": config.type, "schema": document, **metadata}


@router.get("/evals")
def list_evals(
    state: StateDep,
    after: str | None = None,
    limit: PageLimit = 20,
    order: Order = "asc",
    order_by: Literal["created_at", "updated_at"] = "created_at",
) -> ListPage[Eval]:
    by_update = order_by == "updated_at"
    evals = state.store.evals
    return list_page(evals.list(limit=limit, after=after, ascending=order == "asc", by_update=by_update))


@router.get("/evals/{eval_id}")
def retrieve(eval_id: str, state: StateDep) -> Eval:
    return state.store.evals.retrieve(eval_id)


@router.post("/evals/{eval_id}")
def update(eval_id: str, body: UpdateEvalRequest, state: StateDep) -> Eval:
    values: dict[str, Any] = {"name": body.name} if body.name else {}
    values |= {"metadata": body.metadata or {}} if "metadata" in body.model_fields_set else {}
    return state.store.evals.update(eval_id, **values)


@router.delete("/evals/{eval_id}")
def delete(eval_id: str, state: StateDep) -> EvalDeleted:
    state.store.evals.delete(eval_id)
    return EvalDeleted(eval_id=eval_id)


@router.post("/evaluations/grade")
async def grade(body: GradeRequest, state: StateDep) -> Grade:
    """Luthier's own: one answer by one criterion, as the runs of evals do it."""
    await run_in_threadpool(check_grader, state, body.criterion, "criterion")
    context = grader_context(state, body.criterion, "criterion")
    grade_sample = partial(grade_criterion, body.criterion, Sample.of(body.sample or {}), body.item, context)
    return await in_grader_thread(state, grade_sample, "criterion")
