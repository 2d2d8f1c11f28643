"""`/v1/fine_tuning/model_limits`: concurrent jobs per model. In OpenAI's guide, not in its specification."""

from fastapi import APIRouter

from luthier.server.state import StateDep
from luthier.types.fine_tuning import ModelLimits

router = APIRouter(prefix="/v1/fine_tuning/model_limits", tags=["fine_tuning"])


@router.get("")
def retrieve(state: StateDep) -> dict[str, ModelLimits]:
    """For every name that a job may be created with; counts the project's jobs."""
    active, most = state.store.jobs.active(), state.settings.concurrent_jobs
    return {
        name: ModelLimits(max_concurrent_jobs=most, active_jobs=active.get(job_model, 0))
        for name, job_model in state.models.trainable_names().items()
    }
