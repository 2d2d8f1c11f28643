"""`/v1/fine_tuning/checkpoints/{name}/permissions`: fine-tuned models and checkpoints shared with other projects.

For API keys of the whole organization. A checkpoint's name contains `:`, which clients may send as `%3A`.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends

from luthier.server.http.auth import AdminDep
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.model_path import model_in_path
from luthier.server.http.pagination import Limit, list_page
from luthier.server.state import StateDep
from luthier.types.common import ListPage
from luthier.types.errors import NotFoundError
from luthier.types.permissions import CreatePermissionsRequest, Permission, PermissionDeleted


def _own_checkpoint(fine_tuned_model_checkpoint: str, state: StateDep, caller: AdminDep) -> str:
    """The checkpoint's name, if the caller may change its permissions. Raises PermissionDeniedError, NotFoundError."""
    model = state.store.models.find(fine_tuned_model_checkpoint)
    if model is None or caller.project not in (None, model.project):
        message = f"The model '{fine_tuned_model_checkpoint}' does not exist"
        raise NotFoundError(message, param="fine_tuned_model_checkpoint", code="model_not_found")
    return model.id


CheckpointDep = Annotated[str, Depends(_own_checkpoint)]

router = APIRouter(
    prefix=f"/v1/fine_tuning/checkpoints/{model_in_path('fine_tuned_model_checkpoint')}/permissions",
    tags=["fine_tuning"],
    route_class=StrictRoute,
)


@router.post("")
def create(checkpoint: CheckpointDep, body: CreatePermissionsRequest, state: StateDep) -> ListPage[Permission]:
    permissions = state.store.permissions.create(checkpoint, body.project_ids)
    return ListPage(data=permissions, first_id=permissions[0].id, last_id=permissions[-1].id)


@router.get("")
def list_permissions(
    checkpoint: CheckpointDep,
    state: StateDep,
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
def delete(checkpoint: CheckpointDep, permission_id: str, state: StateDep) -> PermissionDeleted:
    state.store.permissions.delete(checkpoint, permission_id)
    return PermissionDeleted(id=permission_id)
