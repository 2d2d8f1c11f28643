"""`/v1/fine_tuning/alpha/graders`: run a grader, or ask whether it could be run."""

from functools import partial

import anyio
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from luthier.evaluation.graders import Sample, SandboxUnavailableError, Tools, check, grade, parts
from luthier.server.http.json_body import StrictRoute
from luthier.server.routes.grader_models import ask, embed
from luthier.server.state import State, StateOf
from luthier.types.errors import BadRequestError, NotFoundError, PermissionDeniedError
from luthier.types.graders import (
    Grader,
    LabelModel,
    RunGraderRequest,
    RunGraderResponse,
    ScoreModel,
    ValidateGraderRequest,
)

router = APIRouter(prefix="/v1/fine_tuning/alpha/graders", tags=["fine_tuning"], route_class=StrictRoute)


@router.post("/run")
async def run(body: RunGraderRequest, state: StateOf) -> RunGraderResponse:
    """Whatever goes wrong while grading is in the answer: the reward is 0 and a flag is set."""
    await run_in_threadpool(check_grader, state, body.grader, "grader")
    python = None if state.settings.python_graders == "off" else state.settings.python_graders
    if python is None and any(part.type == "python" for part in parts(body.grader)):
        raise _refused("Python graders are off on this server. Its operator can allow them with --python-graders.")
    tools = Tools(
        ask=lambda asked: anyio.from_thread.run(ask, state, asked),
        embed=lambda texts: anyio.from_thread.run(embed, state, texts),
        python=python,
    )
    work = partial(grade, body.grader, Sample(body.model_sample), body.item or {}, tools)
    try:
        return await anyio.to_thread.run_sync(work, limiter=state.grading)
    except SandboxUnavailableError as error:
        raise _refused(str(error)) from error


@router.post("/validate", response_model_exclude_unset=True)
def validate(body: ValidateGraderRequest, state: StateOf) -> ValidateGraderRequest:
    check_grader(state, body.grader, "grader")
    return body


def check_grader(state: State, grader: Grader, param: str) -> None:
    """Raises BadRequestError for what is wrong with a grader whatever it grades."""
    found = check(grader)
    if found:
        where = f"{param}.{found[0]}"
        raise BadRequestError(f"Invalid '{where}': {found[1]}.", param=where, code="invalid_grader")
    for part in parts(grader):
        if isinstance(part, ScoreModel | LabelModel):
            try:
                state.names.resolve(part.model)
            except NotFoundError as error:
                raise BadRequestError(error.message, param=f"{param}.model", code="model_not_found") from None


def _refused(message: str) -> PermissionDeniedError:
    return PermissionDeniedError(message, param="grader.type", code="python_grader_not_available")
