"""`/v1/fine_tuning/checkpoints/{name}/permissions`: fine-tuned models and checkpoints shared with other projects.

For keys that are bound to no project. The name of a checkpoint holds `:`, which clients may send as `%3A`.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends

from luthier.server.http.auth import CallerOf
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import Limit, list_page
from luthier.server.state import StateOf
from luthier.types.common import ListPage
from luthier.types.errors import NotFoundError, PermissionDeniedError
from luthier.types.permissions import CreatePermissionsRequest, Permission, PermissionDeleted


def _own_checkpoint(fine_tuned_model_checkpoint: str, state: StateOf, caller: CallerOf) -> str:
    """The checkpoint's name, where the caller may say who uses it. Raises PermissionDeniedError, NotFoundError."""
    if not caller.admin:
        raise PermissionDeniedError(
            "You have insufficient permissions for this operation. It requires an admin API key: on this server, one "
            "that is bound to no project.",
            code="insufficient_permissions",
        )
    found = state.store.models.find(fine_tuned_model_checkpoint)
    if found is None or caller.project not in (None, found.project):
        message = f"The model '{fine_tuned_model_checkpoint}' does not exist"
        raise NotFoundError(message, param="fine_tuned_model_checkpoint", code="model_not_found")
    return found.id


CheckpointOf = Annotated[str, Depends(_own_checkpoint)]

router = APIRouter(
    prefix="/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions",
    tags=["fine_tuning"],
    route_class=StrictRoute,
)


@router.post("")
def create(checkpoint: CheckpointOf, body: CreatePermissionsRequest, state: StateOf) -> ListPage[Permission]:
    made = state.store.permissions.create(checkpoint, body.project_ids)
    return ListPage(data=made, first_id=made[0].id, last_id=made[-1].id)


@router.get("")
def list_permissions(
    checkpoint: CheckpointOf,
    state: StateOf,
    project_id: str | None = None,
    after: str | None = None,
    limit: Limit = 10,
    order: Literal["ascending", "descending"] = "descending",
) -> ListPage[Permission]:
    return list_page(
        state.store.permissions.list(
            checkpoint, project=project_id, limit=limit, after=after, ascending=order == "ascending"
        )
    )


@router.delete("/{permission_id}")
def delete(checkpoint: CheckpointOf, permission_id: str, state: StateOf) -> PermissionDeleted:
    state.store.permissions.delete(checkpoint, permission_id)
    return PermissionDeleted(id=permission_id)
