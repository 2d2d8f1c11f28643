"""Which model a request names and where that is, before anything else of the body is looked at.

What is asked of a service elsewhere is for that service to check, so the body stays as it came.
"""

from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from luthier.server.http.pydantic_errors import validated
from luthier.server.model_resolver import Target
from luthier.server.state import State
from luthier.types.errors import BadRequestError

_MOST_CHARACTERS = 256


async def asked_of(request: Request, state: State, schema: type[BaseModel]) -> tuple[dict[str, Any], Target]:
    """The JSON body and what its `model` stands for. Raises BadRequestError, NotFoundError."""
    asked = await request.json()
    return asked, await run_in_threadpool(state.names.resolve, model_name(asked, schema))


def model_name(asked: Any, schema: type[BaseModel]) -> str:
    """Raises BadRequestError."""
    if isinstance(asked, dict) and not asked.get("model"):
        raise BadRequestError("you must provide a model parameter")
    if not isinstance(asked, dict) or not isinstance(asked["model"], str):
        validated(schema, asked)  # says what is wrong
    name: str = asked["model"]
    if len(name) > _MOST_CHARACTERS:
        message = (
            f"Invalid 'model': string too long. Expected a string with maximum length {_MOST_CHARACTERS}, but got a "
            f"string with length {len(name)} instead."
        )
        raise BadRequestError(message, param="model", code="string_above_max_length")
    return name
