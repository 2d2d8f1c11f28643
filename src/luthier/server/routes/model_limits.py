"""`/v1/fine_tuning/model_limits`: concurrent jobs per model. In OpenAI's guide, not in its specification."""

from fastapi import APIRouter

from luthier.server.state import StateDep
from luthier.types.fine_tuning import ModelLimits

router = APIRouter(prefix="/v1/fine_tuning/model_limits", tags=["fine_tuning"])
_MAX_CONCURRENT_JOBS = 1  # the worker trains one job at a time; the others wait


@router.get("")
def retrieve(state: StateDep) -> dict[str, ModelLimits]:
    """For every name that a job may be created with; counts the project's jobs."""
    active = state.store.jobs.active()
    return {
        name: ModelLimits(max_concurrent_jobs=_MAX_CONCURRENT_JOBS, active_jobs=active.get(job_model, 0))
        for name, job_model in state.models.trainable_names().items()
    }
