"""`Model`: something that `model=` may name."""

from typing import Literal

from luthier.types.common import Response


class Model(Response):
    """`parent` and `root` name, for a fine-tuned model, the base it was trained from and the job's base model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    root: str | None = None
    parent: str | None = None


class ModelDeleted(Response):
    id: str
    object: Literal["model"] = "model"
    deleted: bool = True
