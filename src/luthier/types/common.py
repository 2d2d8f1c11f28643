"""Shared by all resources: strict request base class, times, list pages, metadata."""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from luthier.types import clock

# OpenAI's levels; the model determines what a level between none and max means.
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


def now() -> int:
    """Unix seconds, by the clock that does not jump."""
    return int(clock.CLOCK.time())


class Request(BaseModel):
    """A request body. Parameters outside OpenAI's specification are rejected, as OpenAI does."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class Response(BaseModel):
    """A response body. All fields are sent, including defaults; the schema marks them as required."""

    model_config = ConfigDict(protected_namespaces=(), json_schema_serialization_defaults_required=True)


Resource = TypeVar("Resource", bound=BaseModel)


class ListPage(Response, Generic[Resource]):
    """A cursor page; `first_id` and `last_id` are null when `data` is empty."""

    object: Literal["list"] = "list"
    data: list[Resource]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


def _check_metadata(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_PAIRS:
        raise PydanticCustomError(
            "object_above_max_properties",
            "too many properties. Expected an object with at most {most} properties, but got an object with {count} "
            "properties instead",
            {"most": MAX_PAIRS, "count": len(value)},
        )
    for key in value:
        if len(key) > _MAX_KEY_CHARACTERS:
            raise PydanticCustomError(
                "property_name_above_max_length",
                "property name too long. Expected a property name with maximum length {most}, but got one with length "
                "{count} instead",
                {"most": _MAX_KEY_CHARACTERS, "count": len(key)},
            )
    return value


MAX_PAIRS, _MAX_KEY_CHARACTERS, _MAX_VALUE_CHARACTERS = 16, 64, 512
Metadata = Annotated[
    dict[str, Annotated[str, Field(max_length=_MAX_VALUE_CHARACTERS)]], AfterValidator(_check_metadata)
]
