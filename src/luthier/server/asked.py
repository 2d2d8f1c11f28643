"""Which model a request names and where that is, before anything else of the body is looked at.

What is asked of a service elsewhere is for that service to check, so the body stays as it came.
"""

from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from luthier.server.names import Target
from luthier.server.state import State
from luthier.server.validation import validated
from luthier.types.errors import BadRequestError


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
    return name
