"""`/v1/luthier/server` and `/v1/luthier/migration`: the server itself, and the progress of a migration."""

import datetime as dt
import os

from fastapi import APIRouter, Request

from luthier import __version__
from luthier.hardware import available_memory, cpu_tier
from luthier.server.http.auth import AdminDep, CallerDep
from luthier.server.model_resolver import display_name
from luthier.server.state import State, StateDep
from luthier.store import JobSelection
from luthier.types.aliases import parse_target
from luthier.types.common import now
from luthier.types.errors import LuthierError, UnavailableError
from luthier.types.job_options import SUCCESSOR_OF
from luthier.types.overview import CallerView, MigratedModel, MigrationOverview, RecordedModel, ServerOverview
from luthier.types.projects import DEFAULT_PROJECT, Caller

router = APIRouter(prefix="/v1/luthier", tags=["luthier"])
_ENDED_WITHOUT_MODEL = ("failed", "cancelled")
_CONSIDERED_JOBS = 100  # of an old model, the newest


@router.get("/server")
def overview(request: Request, state: StateDep, caller: CallerDep) -> ServerOverview:
    """The server's environment, the caller, and the aliases of the settings."""
    options = state.app.loader.options
    return ServerOverview(
        version=__version__,
        caller=CallerView(project=caller.project, role=_role(caller)),
        keys_required=request.app.state.keys.is_required(),
        workers=state.store.workers.count_alive(),
        device=options.device,
        precision=options.precision,
        cpu=cpu_tier(),
        cpu_cores=os.cpu_count() or 1,
        available_memory_bytes=available_memory(),
        base=display_name(state.models.default_base),
        aliases={name: state.models.describe(name).root for name in state.models.alias_names()},
    )


def _role(caller: Caller) -> str:
    return "admin" if caller.admin else "reader" if caller.read_only else "member"


@router.get("/migration")
def migration(state: StateDep, caller: AdminDep) -> MigrationOverview:
    """The progress for the recording in the setting `recording`, if any. Raises UnavailableError if it is damaged."""
    read = state.app.read_recording
    if read is None:
        return MigrationOverview(recorded=False, provider=None, updated_at=None, data=[])
    try:
        recording = read()
    except (LuthierError, OSError, KeyError) as error:
        message = f"The recording in the setting 'recording' cannot be read: {error}"
        raise UnavailableError(message, code="recording_unreadable") from error
    names = state.settings.names(caller.project or DEFAULT_PROJECT)
    models = [_migrated(state, model, names.get(model.model)) for model in recording.models]
    models.sort(key=lambda model: (model.days_left is None, model.days_left or 0, model.model))
    return MigrationOverview(recorded=True, provider=recording.provider, updated_at=recording.updated_at, data=models)


def _migrated(state: State, model: RecordedModel, alias: str | None) -> MigratedModel:
    days_left = None
    if model.shutdown_date:
        days_left = (dt.date.fromisoformat(model.shutdown_date) - dt.datetime.fromtimestamp(now(), dt.UTC).date()).days
    page = state.store.managed_jobs.list(
        limit=_CONSIDERED_JOBS, after=None, selection=JobSelection(metadata={SUCCESSOR_OF: model.model})
    )
    alive = [job for job in page.data if job.status not in _ENDED_WITHOUT_MODEL] or page.data
    job = alive[0] if alive else None
    target = parse_target(model.model, alias) if alias else None
    is_whole = target is not None and target.upstream_model is None
    return MigratedModel(
        **model.model_dump(),
        days_left=days_left,
        job=job.id if job else None,
        status=job.status if job else None,
        successor=job.fine_tuned_model if job else None,
        switched=is_whole or bool(target and target.share),
        share=1.0 if is_whole else target.share if target else 0.0,
    )
