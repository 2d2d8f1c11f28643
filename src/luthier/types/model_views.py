"""What Luthier's own routes say of a fine-tuned model: where it comes from, and its exports."""

from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.types.common import Request, Response

EXPORT_TARGET = r"^[a-z0-9-]{1,20}(:[a-z0-9_]{1,8}(,[a-z0-9_]{1,8}){0,7})?$"


class ModelLineage(Response):
    """Data, base, parents, settings and code of a model; what is not known is null."""

    object: Literal["model.lineage"] = "model.lineage"
    model: str
    created_at: int
    base: dict[str, Any]
    parents: list[str]
    job: dict[str, Any]
    data: list[dict[str, Any]]
    settings: dict[str, Any] | None
    code_version: str | None
    metrics: dict[str, Any] | None


class CreateExportRequest(Request):
    """`to`: as `luthier export --to` has it, such as `peft` or `gguf:q8_0,q4_0`."""

    to: Annotated[str, Field(pattern=EXPORT_TARGET)]


class ModelExport(Response):
    """`bytes`: of the files, null until they are there. `error`: of a failed one, in the words of `luthier export`."""

    id: str
    object: Literal["luthier.model.export"] = "luthier.model.export"
    model: str
    to: str
    status: Literal["queued", "running", "succeeded", "failed"]
    created_at: int
    bytes: int | None
    error: str | None


class ModelExportDeleted(Response):
    id: str
    object: Literal["luthier.model.export"] = "luthier.model.export"
    deleted: Literal[True] = True
