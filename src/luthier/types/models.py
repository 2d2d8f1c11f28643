"""`Model`: something that `model=` may name."""

from typing import Any, Literal

from luthier.types.common import Response


class Model(Response):
    """For a fine-tuned model `root` names the weights it stands on, `parent` the model that its job named; `tools`,
    only where one model is asked for, are the definitions that it was trained with. `source`: the hub and id that a
    base model was pulled from.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    root: str | None = None
    parent: str | None = None
    source: str | None = None
    shutdown_date: str | None = None  # models here have none
    tools: list[dict[str, Any]] | None = None


class ModelDeleted(Response):
    id: str
    object: Literal["model"] = "model"
    deleted: bool = True
