"""Reads and resolves the `model` parameter before the rest of the body is validated.

The upstream service validates requests for its own models, so their bodies stay unparsed.
"""

from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from luthier.server.http.pydantic_errors import validated
from luthier.server.model_resolver import ResolvedModel
from luthier.server.state import State
from luthier.types.errors import BadRequestError

_MAX_CHARACTERS = 256


async def resolve_model(
    request: Request, state: State, schema: type[BaseModel]
) -> tuple[dict[str, Any], ResolvedModel]:
    """Return the JSON body and the model that it names. Raises BadRequestError, NotFoundError."""
    body = await request.json()
    return body, await run_in_threadpool(state.models.resolve, model_name(body, schema))


def model_name(body: Any, schema: type[BaseModel]) -> str:
    """Raises BadRequestError."""
    if isinstance(body, dict) and not body.get("model"):
        raise BadRequestError("you must provide a model parameter")
    if not isinstance(body, dict) or not isinstance(body["model"], str):
        validated(schema, body)  # raises, with the type that was expected
    name: str = body["model"]
    if len(name) > _MAX_CHARACTERS:
        message = (
            f"Invalid 'model': string too long. Expected a string with maximum length {_MAX_CHARACTERS}, but got a "
            f"string with length {len(name)} instead."
        )
        raise BadRequestError(message, param="model", code="string_above_max_length")
    return name
