"""What Luthier's own routes say of a fine-tuned model: where it comes from, and its exports."""

from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.types.common import Request, Response

EXPORT_TARGET = r"^[a-z0-9-]{1,20}(:[a-z0-9_]{1,8}(,[a-z0-9_]{1,8}){0,7})?$"
BASE_ID = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$"


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


class AbilityView(Response):
    """One ability for people: `name` and `text` in the language that was asked for."""

    code: str
    name: str
    text: str


class ModelAbilities(Response):
    """What the base model that a name stands for can do; `unusable`: why it can be neither trained nor served."""

    object: Literal["luthier.model.abilities"] = "luthier.model.abilities"
    model: str
    base: str
    licence: str | None
    unusable: str | None
    abilities: list[AbilityView]


class CreateExportRequest(Request):
    """`to`: as `luthier export --to` has it, such as `peft` or `gguf:q8_0,q4_0`.

    `base_id`: for `peft`, the id on a hub of a base model that is known on the server's machine alone.
    """

    to: Annotated[str, Field(pattern=EXPORT_TARGET)]
    base_id: Annotated[str, Field(pattern=BASE_ID)] | None = None


class ExportStage(Response):
    """`name` of the artefact that is written or verified, such as `peft` or `q8_0`."""

    stage: Literal["writing", "verifying"]
    name: str


class ModelExport(Response):
    """`bytes`: of the files, null until they are there.

    `stage`: what a running export does, with the artefact that it does it to. `artefacts`: what was verified of each,
    as `luthier export --json` has it; `trained_exact`: the examples that the fine-tuned model answers word for word.
    `error`: why it failed, or what was not kept of one that succeeded, in the words of `luthier export`.
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
