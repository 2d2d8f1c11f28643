"""`/v1/fine_tuning/model_limits`: how many jobs each model may have. In OpenAI's guide, not in its specification."""

from fastapi import APIRouter

from luthier.server.state import StateOf
from luthier.types.fine_tuning import ModelLimits

router = APIRouter(prefix="/v1/fine_tuning/model_limits", tags=["fine_tuning"])
_AT_ONCE = 1  # the worker trains one job at a time; the others wait


@router.get("")
def retrieve(state: StateOf) -> dict[str, ModelLimits]:
    """By every name that a job may be created with; the caller's jobs are counted."""
    active = state.store.jobs.active()
    return {
        name: ModelLimits(max_concurrent_jobs=_AT_ONCE, active_jobs=active.get(echoed, 0))
        for name, echoed in state.names.trainable().items()
    }
