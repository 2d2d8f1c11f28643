"""What every resource shares: the strict request base, ids, times, list pages."""

import secrets
import string
import time
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """A random id such as `file-` + 24 letters and digits, in the shape of OpenAI's."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


def now() -> int:
    """Unix seconds."""
    return int(time.time())


class Request(BaseModel):
    """A request body: what is not in OpenAI's specification is refused, as OpenAI refuses it."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class Response(BaseModel):
    """A response body. Every field is sent, also one that has its default; the schema says so."""

    model_config = ConfigDict(protected_namespaces=(), json_schema_serialization_defaults_required=True)


Item = TypeVar("Item", bound=BaseModel)


class ListPage(Response, Generic[Item]):
    """A cursor page; `first_id` and `last_id` are null when `data` is empty."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


def _at_most_16(value: dict[str, str]) -> dict[str, str]:
    if len(value) > _PAIRS:
        raise PydanticCustomError(
            "object_above_max_properties",
            "too many properties. Expected an object with at most {most} properties, but got an object with {count} "
            "properties instead",
            {"most": _PAIRS, "count": len(value)},
        )
    for key in value:
        if len(key) > _KEY_CHARACTERS:
            raise PydanticCustomError(
                "property_name_above_max_length",
                "property name too long. Expected a property name with maximum length {most}, but got one with length "
                "{count} instead",
                {"most": _KEY_CHARACTERS, "count": len(key)},
            )
    return value


_PAIRS, _KEY_CHARACTERS, _VALUE_CHARACTERS = 16, 64, 512
Metadata = Annotated[dict[str, Annotated[str, Field(max_length=_VALUE_CHARACTERS)]], AfterValidator(_at_most_16)]
