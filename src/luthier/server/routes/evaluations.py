"""`/v1/evaluations`: Luthier's own. Reports, which `evaluation_runner` makes, and how likely given answers are."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from luthier.data.check.form import check_example
from luthier.data.examples.example import to_example
from luthier.data.rendering.renderer import Rendered
from luthier.evaluation.report import headline
from luthier.evaluation.run import Plan
from luthier.inference import Engine, Token, in_background
from luthier.server.http.auth import CallerOf
from luthier.server.http.disconnect import while_connected
from luthier.server.http.json_body import StrictRoute
from luthier.server.state import State, StateOf, renderer
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
def create(body: CreateEvaluationRequest, state: StateOf, caller: CallerOf) -> Evaluation:
    """What can be seen at once is refused here; the file is read when its turn comes."""
    home = state.within(caller.project or DEFAULT_PROJECT)  # where it will run
    seen = home if body.report is None else state
    for param, model in [("model", body.model), *(("against", other) for other in body.against or [])]:
        try:
            seen.names.resolve(model)
        except NotFoundError as error:
            raise NotFoundError(error.message, param=param, code=error.code) from None
    if (body.validation_file is None) == (body.report is None):
        raise BadRequestError("Either 'validation_file' or 'report' must be given.", param="validation_file")
    if body.report is not None:
        return _kept(state, body.model, body.report)
    if body.definitions and not body.functions:
        raise BadRequestError("'definitions' is for evaluations with 'functions'.", param="definitions")
    plan = Plan([], bool(body.functions), list(dict.fromkeys(body.definitions or [])))
    return state.store.evaluations.create(
        model=body.model,
        validation_file=body.validation_file,
        filename=_file(home, str(body.validation_file)).filename,
        against=[other for other in dict.fromkeys(body.against or []) if other != body.model],
        functions=plan.functions,
        definitions=list(plan.modes),
        limit=body.limit,
        max_tokens=body.max_tokens,
    )


def _file(state: State, file_id: str) -> FileObject:
    try:
        file = state.store.files.retrieve(file_id)
    except NotFoundError:
        raise BadRequestError(f"invalid validation_file: {file_id}", param="validation_file") from None
    if file.purpose not in _PURPOSES:
        message = f"File '{file_id}' has purpose '{file.purpose}'; an evaluation needs one of {', '.join(_PURPOSES)}."
        raise BadRequestError(message, param="validation_file")
    return file


def _kept(state: State, model: str, given: dict[str, Any]) -> Evaluation:
    """A report that a client made with `luthier.evaluation`, stored with the model that it is about."""
    try:
        report = ReportDocument(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["report", *map(str, first["loc"])])
        raise BadRequestError(f"Invalid '{where}': {first['msg']}.", param="report") from None
    if report.runs[0].model != model:
        message = f"Invalid 'report': it is about '{report.runs[0].model}', not about '{model}'."
        raise BadRequestError(message, param="report")
    return state.store.evaluations.create(
        status="succeeded",
        model=model,
        filename=report.file,
        against=list(dict.fromkeys(run.model for run in report.runs if run.model != model)),
        functions=report.kind == "functions",
        definitions=list(dict.fromkeys(run.definitions for run in report.runs)),
        report=given,
        headline=headline(given),
    )


@router.get("")
def list_evaluations(
    state: StateOf,
    model: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> ListPage[Evaluation]:
    """Newest first, without the reports themselves."""
    page = state.store.evaluations.list(model=model, limit=limit, after=after)
    first, last = (page.data[0].id, page.data[-1].id) if page.data else (None, None)
    return ListPage(data=page.data, first_id=first, last_id=last, has_more=page.has_more)


@router.get("/{evaluation_id}")
def retrieve(evaluation_id: str, state: StateOf) -> Evaluation:
    return state.store.evaluations.retrieve(evaluation_id)


@router.post("/{evaluation_id}/cancel")
def cancel(evaluation_id: str, state: StateOf) -> Evaluation:
    return state.store.evaluations.cancel(evaluation_id)


@router.delete("/{evaluation_id}")
def delete(evaluation_id: str, state: StateOf) -> EvaluationDeleted:
    state.store.evaluations.delete(evaluation_id)
    return EvaluationDeleted(id=evaluation_id)


@router.post("/losses")
async def losses(body: CreateLossesRequest, request: Request, state: StateOf) -> Losses:
    """Teacher-forced, on the tokens that training would train. Everybody else's requests go first."""
    target = await run_in_threadpool(state.names.resolve, body.model)
    if target.upstream:
        message = f"The model '{body.model}' is of a service elsewhere, which tells no loss of given texts."
        raise BadRequestError(message, param="model", code="losses_not_available")
    base, engine = await while_connected(request, state.ready(target.base or ""))
    examples = await run_in_threadpool(_rendered, body.examples, base, target.adapter)
    found = await while_connected(request, _losses(engine, target.adapter, examples))
    return Losses(model=target.name, data=found)


def _rendered(given: Sequence[dict[str, Any]], base: Path, adapter: Path | None) -> list[Rendered]:
    """Raises BadRequestError that names the example."""
    rendering = renderer(base, adapter)
    made = []
    for index, value in enumerate(given):
        param = f"examples[{index}]"
        fault = next((found for found in check_example(value) if found.severity == "error"), None)
        if fault:
            raise BadRequestError(f"Invalid '{param}': {fault.text('en')}", param=param)
        try:
            made.append(rendering.example(to_example(value, index + 1)))
        except (RenderError, LuthierError) as error:
            raise BadRequestError(f"Invalid '{param}': {error}", param=param) from error
    return made


async def _losses(engine: Engine, adapter: Path | None, examples: Sequence[Rendered]) -> list[ExampleLoss]:
    """One after the other, each a single place in the queue."""
    in_background.set(True)
    made = []
    for example in examples:
        kept = example.ids[: engine.context_tokens]
        start = next((place for place, weight in enumerate(example.weights) if place and weight), len(kept))
        tokens = await asyncio.wrap_future(engine.score(kept, adapter, 1, start=start))
        made.append(_loss(example, tokens, start))
    return made


def _loss(example: Rendered, tokens: Sequence[Token], start: int) -> ExampleLoss:
    """`tokens` are those from the first trained one at place `start` on, as far as the model's context goes."""
    trained = [(token, weight) for token, weight in zip(tokens, example.weights[start:], strict=False) if weight]
    return ExampleLoss(
        loss=-sum(token.logprob * weight for token, weight in trained),
        weight=sum(weight for _, weight in trained),
        tokens=len(trained),
        correct_tokens=sum(token.top[0][1] <= token.logprob for token, _ in trained),
        truncated=start + len(tokens) < len(example.ids),
    )
