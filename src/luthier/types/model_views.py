"""Responses of Luthier's own routes about a fine-tuned model: its lineage and its exports."""

from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.types.common import Request, Response

EXPORT_TARGET = r"^[a-z0-9-]{1,20}(:[a-z0-9_]{1,8}(,[a-z0-9_]{1,8}){0,7})?$"
BASE_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$"


class ModelLineage(Response):
    """Data, base, parents, settings and code of a model; unknown values are null."""

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


class AbilityView(Response):
    """One ability, for display: `name` and `text` are in the requested language."""

    code: str
    name: str
    text: str


class ModelAbilities(Response):
    """The abilities of the base model behind a name; `unusable`: the reason why it can be neither trained nor
    served."""

    object: Literal["luthier.model.abilities"] = "luthier.model.abilities"
    model: str
    base: str
    licence: str | None
    unusable: str | None
    abilities: list[AbilityView]


class CreateExportRequest(Request):
    """`to`: as in `luthier export --to`, such as `peft` or `gguf:q8_0,q4_0`.

    `base_id`: for `peft`, the hub id of a base model whose name only the server's machine knows.
    """

    to: Annotated[str, Field(pattern=EXPORT_TARGET)]
    base_id: Annotated[str, Field(pattern=BASE_ID)] | None = None


class ExportStage(Response):
    """`name`: the artefact that is being written or verified, such as `peft` or `q8_0`."""

    stage: Literal["writing", "verifying"]
    name: str


class ModelExport(Response):
    """`bytes`: total size of the files; null until they exist.

    `stage`: the current stage of a running export, with its artefact. `artefacts`: the verification results, as in
    `luthier export --json`; `trained_exact`: the number of examples that the fine-tuned model answers word for word.
    `error`: why the export failed, or which artefacts of a successful one were deleted, in the words of `luthier
    export`.
    """

    id: str
    object: Literal["luthier.model.export"] = "luthier.model.export"
    model: str
    to: str
    status: Literal["queued", "running", "succeeded", "failed"]
    created_at: int
    bytes: int | None
    stage: ExportStage | None
    artefacts: list[dict[str, Any]]
    trained_exact: int | None
    error: str | None


class ModelExportDeleted(Response):
    id: str
    object: Literal["luthier.model.export"] = "luthier.model.export"
    deleted: Literal[True] = True
