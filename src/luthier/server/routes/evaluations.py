"""`/v1/evaluations`, specific to Luthier: reports, which the evaluation runner creates, and losses on examples."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from luthier.data.check.structure import check_example
from luthier.data.examples.example import to_example
from luthier.data.rendering.renderer import Rendered
from luthier.evaluation.report import headline
from luthier.evaluation.run import EvaluationPlan
from luthier.inference import Token, low_priority
from luthier.server.http.auth import CallerDep
from luthier.server.http.disconnect import cancel_on_disconnect
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import list_page
from luthier.server.model_loader import LoadedModel
from luthier.server.routes.input_files import require_file
from luthier.server.state import State, StateDep
from luthier.types.common import ListPage
from luthier.types.errors import BadRequestError, LuthierError, NotFoundError, RenderError
from luthier.types.evaluations import (
    CreateEvaluationRequest,
    CreateLossesRequest,
    Evaluation,
    EvaluationDeleted,
    ExampleLoss,
    Losses,
    ReportDocument,
)
from luthier.types.files import FileObject
from luthier.types.projects import DEFAULT_PROJECT

router = APIRouter(prefix="/v1/evaluations", tags=["evaluations"], route_class=StrictRoute)
_PURPOSES = ("fine-tune", "evals", "user_data")


@router.post("")
def create(body: CreateEvaluationRequest, state: StateDep, caller: CallerDep) -> Evaluation:
    """Rejects requests that are invalid by themselves; the file is read when the evaluation runs."""
    owner = state.within(caller.project or DEFAULT_PROJECT)  # the project that the evaluation runs for
    _check_models(owner if body.report is None else state, body)
    if (body.validation_file is None) == (body.report is None):
        raise BadRequestError("Either 'validation_file' or 'report' is required.", param="validation_file")
    if body.report is not None:
        return _store_report(state, body.model, body.report)
    if body.definitions and not body.functions:
        raise BadRequestError("'definitions' is only allowed when 'functions' is enabled.", param="definitions")
    plan = EvaluationPlan([], bool(body.functions), list(dict.fromkeys(body.definitions or [])))
    return state.store.evaluations.create(
        model=body.model,
        validation_file=body.validation_file,
        filename=_validation_file(owner, str(body.validation_file)).filename,
        against=[other for other in dict.fromkeys(body.against or []) if other != body.model],
        functions=plan.functions,
        definitions=list(plan.modes),
        limit=body.limit,
        max_tokens=body.max_tokens,
    )


def _check_models(state: State, body: CreateEvaluationRequest) -> None:
    """Raises NotFoundError that names the parameter."""
    for param, model in [("model", body.model), *(("against", other) for other in body.against or [])]:
        try:
            state.models.resolve(model)
        except NotFoundError as error:
            raise NotFoundError(error.message, param=param, code=error.code) from None


def _validation_file(state: State, file_id: str) -> FileObject:
    requirement = f"an evaluation needs one of {', '.join(_PURPOSES)}"
    return require_file(state, file_id, "validation_file", _PURPOSES, requirement)


def _store_report(state: State, model: str, document: dict[str, Any]) -> Evaluation:
    """Stores a report that a client made with `luthier.evaluation`. Raises BadRequestError."""
    try:
        report = ReportDocument(**document)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(["report", *map(str, first["loc"])])
        raise BadRequestError(f"Invalid '{path}': {first['msg']}.", param="report") from None
    if report.runs[0].model != model:
        message = f"Invalid 'report': it is a report on '{report.runs[0].model}', but 'model' is '{model}'."
        raise BadRequestError(message, param="report")
    return state.store.evaluations.create(
        status="succeeded",
        model=model,
        filename=report.file,
        against=list(dict.fromkeys(run.model for run in report.runs if run.model != model)),
        functions=report.kind == "functions",
        definitions=list(dict.fromkeys(run.definitions for run in report.runs)),
        report=document,
        headline=headline(document),
    )


@router.get("")
def list_evaluations(
    state: StateDep,
    model: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> ListPage[Evaluation]:
    """Newest first, without the reports themselves."""
    return list_page(state.store.evaluations.list(model=model, limit=limit, after=after))


@router.get("/{evaluation_id}")
def retrieve(evaluation_id: str, state: StateDep) -> Evaluation:
    return state.store.evaluations.retrieve(evaluation_id)


@router.post("/{evaluation_id}/cancel")
def cancel(evaluation_id: str, state: StateDep) -> Evaluation:
    return state.store.evaluations.cancel(evaluation_id)


@router.delete("/{evaluation_id}")
def delete(evaluation_id: str, state: StateDep) -> EvaluationDeleted:
    state.store.evaluations.delete(evaluation_id)
    return EvaluationDeleted(id=evaluation_id)


@router.post("/losses")
async def losses(body: CreateLossesRequest, request: Request, state: StateDep) -> Losses:
    """Teacher-forced losses on the tokens that training trains on. Runs at low priority."""
    target = await run_in_threadpool(state.models.resolve, body.model)
    if target.upstream_model:
        message = f"The model '{body.model}' is served upstream, where losses of supplied texts are not available."
        raise BadRequestError(message, param="model", code="losses_not_available")
    model = await cancel_on_disconnect(request, state.app.loader.load(target))
    examples = await run_in_threadpool(_render, body.examples, model)
    return Losses(model=target.name, data=await cancel_on_disconnect(request, _losses(model, examples)))


def _render(examples: Sequence[dict[str, Any]], model: LoadedModel) -> list[Rendered]:
    """Raises BadRequestError that names the example."""
    renderer, rendered = model.renderer, []
    for index, example in enumerate(examples):
        param = f"examples[{index}]"
        error = next((finding for finding in check_example(example) if finding.severity == "error"), None)
        if error:
            raise BadRequestError(f"Invalid '{param}': {error.text('en')}", param=param)
        try:
            rendered.append(renderer.example(to_example(example, index + 1)))
        except (RenderError, LuthierError) as render_error:
            raise BadRequestError(f"Invalid '{param}': {render_error}", param=param) from render_error
    return rendered


async def _losses(model: LoadedModel, examples: Sequence[Rendered]) -> list[ExampleLoss]:
    """Compute the losses one example at a time, so that they occupy a single place in the queue."""
    low_priority.set(True)
    engine, adapter, results = model.engine, model.target.adapter, []
    for example in examples:
        ids = example.ids[: engine.context_tokens]
        start = next((index for index, weight in enumerate(example.weights) if index and weight), len(ids))
        tokens = await asyncio.wrap_future(engine.score(ids, adapter, 1, start=start))
        results.append(_loss(example, tokens, start))
    return results


def _loss(example: Rendered, tokens: Sequence[Token], start: int) -> ExampleLoss:
    """`tokens`: from the first trained one, at index `start`, to the end of the model's context."""
    trained = [(token, weight) for token, weight in zip(tokens, example.weights[start:], strict=False) if weight]
    return ExampleLoss(
        loss=-sum(token.logprob * weight for token, weight in trained),
        weight=sum(weight for _, weight in trained),
        tokens=len(trained),
        correct_tokens=sum(token.top[0][1] <= token.logprob for token, _ in trained),
        truncated=start + len(tokens) < len(example.ids),
    )
