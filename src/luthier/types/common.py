"""What every resource shares: the strict request base, ids, times, list pages."""

import secrets
import string
import time
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

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


def _metadata(value: dict[str, str]) -> dict[str, str]:
    if len(value) > 16:
        raise ValueError(f"at most 16 pairs are allowed, got {len(value)}")
    for key, text in value.items():
        if len(key) > 64:
            raise ValueError(f"keys have at most 64 characters, got {len(key)}: '{key[:64]}'")
        if len(text) > 512:
            raise ValueError(f"values have at most 512 characters, got {len(text)} under '{key}'")
    return value


Metadata = Annotated[dict[str, str], AfterValidator(_metadata)]
