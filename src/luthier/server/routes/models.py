"""`/v1/models`. Names may hold `:` and `/`."""

from fastapi import APIRouter

from luthier.data.examples import adapter_metadata
from luthier.server.http.auth import CallerDep
from luthier.server.http.model_path import model_in_path
from luthier.server.state import StateDep
from luthier.types.common import ListPage
from luthier.types.errors import NotFoundError, PermissionDeniedError
from luthier.types.models import Model, ModelDeleted

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.head("", include_in_schema=False)
@router.get("")
def list_models(state: StateDep) -> ListPage[Model]:
    return ListPage(data=list(state.models.list_models()))


@router.head("/" + model_in_path(), include_in_schema=False)
@router.get("/" + model_in_path())
def retrieve(model: str, state: StateDep) -> Model:
    tuned = state.store.models.find(model)
    tools = adapter_metadata.read(tuned.adapter).definitions if tuned else None
    return state.models.describe(model).model_copy(update={"tools": tools or None})


@router.delete("/" + model_in_path())
def delete(model: str, state: StateDep, caller: CallerDep) -> ModelDeleted:
    """Only for the project's own fine-tuned models; base models and aliases belong to the operator."""
    tuned = state.store.models.find(model)
    if tuned is None and _exists(state, model):
        raise PermissionDeniedError(f"The model '{model}' is not a fine-tuned model and cannot be deleted here.")
    if tuned and caller.project not in (None, tuned.project):
        raise PermissionDeniedError(f"The model '{model}' is shared with this project and cannot be deleted from it.")
    state.store.models.delete(model)
    if tuned:
        state.app.engines.discard(tuned.adapter)  # full fine-tuning makes a base model with an engine of its own
    return ModelDeleted(id=model)


def _exists(state: StateDep, model: str) -> bool:
    try:
        state.models.describe(model)
    except NotFoundError:
        return False
    return True
