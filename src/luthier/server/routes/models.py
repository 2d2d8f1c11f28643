"""`/v1/models`. Names may hold `:` and `/`."""

from fastapi import APIRouter

from luthier.data.examples import adapter_metadata
from luthier.server.http.auth import CallerOf
from luthier.server.state import StateOf
from luthier.types.common import ListPage
from luthier.types.errors import NotFoundError, PermissionDeniedError
from luthier.types.models import Model, ModelDeleted

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
def list_models(state: StateOf) -> ListPage[Model]:
    return ListPage(data=list(state.names.list()))


@router.get("/{model:path}")
def retrieve(model: str, state: StateOf) -> Model:
    tuned = state.store.models.find(model)
    tools = adapter_metadata.read(tuned.adapter).definitions if tuned else None
    return state.names.model(model).model_copy(update={"tools": tools or None})


@router.delete("/{model:path}")
def delete(model: str, state: StateOf, caller: CallerOf) -> ModelDeleted:
    """One's own fine-tuned models only; the base and other names are the operator's."""
    tuned = state.store.models.find(model)
    if tuned is None and _exists(state, model):
        raise PermissionDeniedError(f"The model '{model}' is not a fine-tuned model and cannot be deleted here.")
    if tuned and caller.project not in (None, tuned.project):
        raise PermissionDeniedError(f"The model '{model}' is shared with this project and cannot be deleted from it.")
    state.store.models.delete(model)
    if tuned:
        state.engines.discard(tuned.adapter)  # a whole model has an engine of its own
    return ModelDeleted(id=model)


def _exists(state: StateOf, model: str) -> bool:
    try:
        state.names.model(model)
    except NotFoundError:
        return False
    return True
