"""`/v1/fine_tuning/alpha/graders`: runs a grader, or validates it."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from luthier.evaluation.graders import (
    GraderContext,
    Sample,
    SandboxUnavailableError,
    grade,
    sub_graders,
    validate_grader,
)
from luthier.server.http.json_body import StrictRoute
from luthier.server.routes.grader_models import complete, embed
from luthier.server.state import State, StateDep
from luthier.types.errors import BadRequestError, NotFoundError, PermissionDeniedError
from luthier.types.graders import (
    Grader,
    LabelModel,
    RunGraderRequest,
    RunGraderResponse,
    ScoreModel,
    SubGrader,
    ValidateGraderRequest,
)

router = APIRouter(prefix="/v1/fine_tuning/alpha/graders", tags=["fine_tuning"], route_class=StrictRoute)
Graded = TypeVar("Graded")


@router.post("/run")
async def run(body: RunGraderRequest, state: StateDep) -> RunGraderResponse:
    """An error during grading is part of the response: the reward is 0 and a flag is set."""
    await run_in_threadpool(check_grader, state, body.grader, "grader")
    context = grader_context(state, body.grader, "grader")
    grade_sample = partial(grade, body.grader, Sample(body.model_sample), body.item or {}, context)
    return await in_grader_thread(state, grade_sample, "grader")


@router.post("/validate", response_model_exclude_unset=True)
def validate(body: ValidateGraderRequest, state: StateDep) -> ValidateGraderRequest:
    check_grader(state, body.grader, "grader")
    return body


def grader_context(state: State, grader: Grader | SubGrader, param: str) -> GraderContext:
    """The server's services for graders. Raises PermissionDeniedError for a Python grader if those are disabled."""
    isolation = None if state.settings.python_graders == "off" else state.settings.python_graders
    if isolation is None and any(part.type == "python" for part in sub_graders(grader)):
        message = "Python graders are disabled on this server. Its operator can allow them with --python-graders."
        raise _not_available(message, param)
    return GraderContext(
        complete=lambda prompt: anyio.from_thread.run(complete, state, prompt),
        embed=lambda texts: anyio.from_thread.run(embed, state, texts),
        python=isolation,
    )


async def in_grader_thread(state: State, grade_sample: Callable[[], Graded], param: str) -> Graded:
    """Raises PermissionDeniedError for a Python grader that this system cannot isolate."""
    try:
        return await anyio.to_thread.run_sync(grade_sample, limiter=state.app.grader_threads)
    except SandboxUnavailableError as error:
        raise _not_available(str(error), param) from error


def check_grader(state: State, grader: Grader | SubGrader, param: str) -> None:
    """Raises BadRequestError for a grader that is invalid for every sample."""
    check_grader_form(grader, param)
    for part in sub_graders(grader):
        if isinstance(part, ScoreModel | LabelModel):
            try:
                state.models.resolve(part.model)
            except NotFoundError as error:
                raise BadRequestError(error.message, param=f"{param}.model", code="model_not_found") from None


def check_grader_form(grader: Grader | SubGrader, param: str) -> None:
    """Like `check_grader`, but does not check grading models."""
    problem = validate_grader(grader)
    if problem:
        path, reason = f"{param}.{problem[0]}", problem[1]
        raise BadRequestError(f"Invalid '{path}': {reason}.", param=path, code="invalid_grader")


def _not_available(message: str, param: str) -> PermissionDeniedError:
    return PermissionDeniedError(message, param=f"{param}.type", code="python_grader_not_available")
