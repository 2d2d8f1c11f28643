"""`Model`: a base model, fine-tuned model, checkpoint or alias."""

from typing import Any, Literal

from luthier.types.common import Response


class Model(Response):
    """`root`: the base model of a fine-tuned model; `parent`: the model given in its job.

    `tools`: the tool definitions of its training, only sent when a single model is retrieved. `source`: the hub id of
    a pulled base model.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    root: str | None = None
    parent: str | None = None
    source: str | None = None
    shutdown_date: str | None = None  # YYYY-MM-DD, of an alias whose upstream model has one
    tools: list[dict[str, Any]] | None = None


class ModelDeleted(Response):
    id: str
    object: Literal["model"] = "model"
    deleted: bool = True
