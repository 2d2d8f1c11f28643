"""Moderations: the request. The response is passed through from the upstream service."""

from typing import Annotated, Any

from pydantic import Field

from luthier.types.common import Request

DEFAULT_MODEL = "omni-moderation-latest"


class CreateModerationRequest(Request):
    input: str | Annotated[list[str], Field(min_length=1)] | Annotated[list[dict[str, Any]], Field(min_length=1)]
    model: Annotated[str, Field(min_length=1, max_length=256)] = DEFAULT_MODEL
