"""`checkpoint.permission`: lets a project use a fine-tuned model or checkpoint of another project."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.types.common import Request, Response
from luthier.types.projects import PROJECT_ID

ProjectId = Annotated[str, Field(pattern=rf"^{PROJECT_ID.pattern}$")]


class CreatePermissionsRequest(Request):
    project_ids: Annotated[list[ProjectId], Field(min_length=1, max_length=1000)]


class Permission(Response):
    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: int
    project_id: str


class PermissionDeleted(Response):
    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    deleted: bool = True
