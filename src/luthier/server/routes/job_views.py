"""`/v1/luthier/jobs`: watching and managing jobs: progress, queue, curves, names, groups, deletion."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from luthier.event_texts import chinese_event, chinese_failure
from luthier.language import Language
from luthier.server.http.auth import CallerDep, require_priority
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import METADATA_PARAMETER, Limit, list_page, parse_metadata_filter
from luthier.server.model_resolver import display_name
from luthier.server.state import State, StateDep
from luthier.store import Job, JobSelection, Page
from luthier.store.job_metrics import Series
from luthier.store.job_priority import set_priority as change_priority
from luthier.types.common import ListPage
from luthier.types.fine_tuning import JobEvent, JobStatus
from luthier.types.job_views import (
    JobDeleted,
    JobGroup,
    JobGroups,
    JobMetrics,
    JobUpdates,
    JobView,
    MetricSeries,
    QueuePlace,
    QueueReason,
    SetPriorityRequest,
    UpdateJobRequest,
)

router = APIRouter(prefix="/v1/luthier/jobs", tags=["luthier"], route_class=StrictRoute)
_SPARKLINE_POINTS = 40
_MAX_NEW_EVENTS = 200  # of one answer
_UNFINISHED: tuple[JobStatus, ...] = ("validating_files", "queued", "running")
_CONSIDERED_JOBS, _NAMED_JOBS = 1000, 5  # of the project: that may come first, and that a place names


@router.get("", openapi_extra=METADATA_PARAMETER)
def list_jobs(
    request: Request,
    state: StateDep,
    limit: Limit = 20,
    after: str | None = None,
    status: Annotated[list[JobStatus], Query()] = [],  # noqa: B006 - FastAPI copies it
    search: Annotated[str, Query(max_length=200)] = "",
    without: Annotated[str | None, Query(max_length=64)] = None,
    points: Annotated[int, Query(ge=1, le=_SPARKLINE_POINTS)] = _SPARKLINE_POINTS,
    lang: Language = "en",
) -> ListPage[JobView]:
    """Newest first. `metadata[key]=value` selects jobs that have the pair, `without` those that lack a key.

    `points`: of the losses in `progress`.
    """
    pairs = parse_metadata_filter(request) or {}
    selection = JobSelection(statuses=status, metadata=pairs, without_key=without, search=search)
    page = state.store.managed_jobs.list(limit=limit, after=after, selection=selection)
    return list_page(Page(_views(state, page.data, lang, points), page.has_more))


@router.get("/groups")
def groups(state: StateDep, by: Annotated[str | None, Query(max_length=64)] = None) -> JobGroups:
    """Jobs grouped by the value of a metadata key; without `by`, the existing keys."""
    grouped = state.store.managed_jobs.groups(by)
    data = [JobGroup(**asdict(group)) for group in grouped.groups]
    return JobGroups(by=by, keys=grouped.keys, data=data)


@router.get("/{job_id}")
def retrieve(job_id: str, state: StateDep, lang: Language = "en") -> JobView:
    (view,) = _views(state, [state.store.jobs.get(job_id)], lang)
    return view


@router.post("/{job_id}/priority")
def set_priority(
    job_id: str, body: SetPriorityRequest, state: StateDep, caller: CallerDep, lang: Language = "en"
) -> JobView:
    """Set the priority of an unfinished job. A running job keeps running; the priority applies if it has to wait
    again."""
    require_priority(caller, body.priority, "priority")
    change_priority(state.store.jobs, job_id, body.priority)
    return retrieve(job_id, state, lang)


@router.post("/{job_id}")
def rename(job_id: str, body: UpdateJobRequest, state: StateDep, lang: Language = "en") -> JobView:
    """A name for display; the job's models keep theirs."""
    (view,) = _views(state, [state.store.managed_jobs.rename(job_id, body.name)], lang)
    return view


@router.delete("/{job_id}")
def delete(job_id: str, state: StateDep, models: bool = False) -> JobDeleted:
    """Deletes a finished job, its events and result files; with `models` also its models and checkpoints.

    Its training and validation files stay.
    """
    left = state.store.models.of_job(job_id)
    for folder in state.store.delete_job(job_id, with_models=models):
        state.app.engines.discard(folder)  # full fine-tuning makes a base model with an engine of its own
    return JobDeleted(id=job_id, models=[model.id for model in left])


@router.get("/{job_id}/metrics")
def metrics(
    job_id: str,
    state: StateDep,
    points: Annotated[int, Query(ge=1, le=5000)] = 1000,
    after: Annotated[int, Query(ge=0)] = 0,
    until: Annotated[int | None, Query(ge=1)] = None,
) -> JobMetrics:
    """The curves of the steps above `after` up to `until`, each with at most `points` points."""
    job = state.store.jobs.get(job_id)
    series = state.store.job_metrics.series(job.id, after=after, until=until, points=points)
    return JobMetrics(job_id=job.id, series=_columns(series))


@router.get("/{job_id}/updates", response_model=JobUpdates)
def updates(
    job_id: str,
    state: StateDep,
    points: Annotated[int, Query(ge=1, le=5000)] = 1000,
    after: Annotated[int, Query(ge=0)] = 0,
    after_event: str | None = None,
    lang: Language = "en",
) -> Response:
    """What a page that watches a job reads every few seconds, in one request: the job, the curves of the steps above
    `after`, and the events after `after_event`.
    """
    job = state.store.jobs.get(job_id)
    (view,) = _views(state, [job], lang, points=1)
    series = state.store.job_metrics.series(job.id, after=after, points=points)
    page = _messages(state, job_id, _MAX_NEW_EVENTS, after_event, lang)
    job_updates = JobUpdates(view=view, series=_columns(series), events=page.data, has_more=page.has_more)
    # FastAPI would validate all of it a second time, which is most of what an answer without news costs.
    return Response(job_updates.model_dump_json(), media_type="application/json")


@router.get("/{job_id}/events")
def list_events(
    job_id: str, state: StateDep, limit: Limit = 100, after: str | None = None, lang: Language = "en"
) -> ListPage[JobEvent]:
    """Events without metrics, oldest first, so that `after` with the last known event returns the new ones."""
    return list_page(_messages(state, job_id, limit, after, lang))


def _messages(state: State, job_id: str, limit: int, after: str | None, lang: Language) -> Page[JobEvent]:
    page = state.store.jobs.messages(job_id, limit=limit, after=after)
    if lang == "en":
        return page
    events = [event.model_copy(update={"message": chinese_event(event.message)}) for event in page.data]
    return Page(events, page.has_more)


def _columns(series: Mapping[str, Series]) -> dict[str, MetricSeries]:
    return {name: MetricSeries(**vars(columns)) for name, columns in series.items()}


def _views(state: State, jobs: Sequence[Job], lang: Language, points: int = _SPARKLINE_POINTS) -> list[JobView]:
    progress = state.store.job_metrics.progress([job.id for job in jobs], points=points)
    waits = any(job.status in ("validating_files", "queued") for job in jobs)
    places = _places(state, jobs) if waits else {}
    return [
        JobView.model_validate(
            {
                "id": job.id,
                "name": job.name,
                "job": job.to_api(),
                "base": display_name(job.base),
                "progress": asdict(progress[job.id]) if job.id in progress else None,
                "queue": places.get(job.id),
                "failure": _failure(job, lang),
            }
        )
        for job in jobs
    ]


def _places(state: State, jobs: Sequence[Job]) -> dict[str, QueuePlace]:
    """The queue places of waiting jobs; of other projects' jobs, only the number is revealed."""
    places = state.store.job_queue.places(state.settings.concurrent_jobs)
    is_validating = {job.id: job.status == "validating_files" and bool(job.owner) for job in jobs if job.id in places}
    has_worker = state.store.workers.count_alive() > 0
    own = state.store.managed_jobs.statuses(_UNFINISHED, limit=_CONSIDERED_JOBS)
    running = [job_id for job_id, status in own.items() if status == "running"]
    waiting = sorted((places[job_id].ahead, job_id) for job_id in own if job_id in places)
    return {
        job_id: QueuePlace(
            ahead=places[job_id].ahead,
            estimated_start=places[job_id].estimated_start if has_worker else None,
            reason=_reason(is_validating[job_id], places[job_id].ahead, has_worker),
            jobs_ahead=[
                *running,
                *(earlier for ahead, earlier in waiting[:_NAMED_JOBS] if ahead < places[job_id].ahead),
            ][:_NAMED_JOBS],
        )
        for job_id in is_validating
    }


def _reason(is_validating: bool, ahead: int, has_worker: bool) -> QueueReason:
    if not has_worker:
        return "no_worker"
    if is_validating:
        return "validating"
    return "jobs_ahead" if ahead else "next"


def _failure(job: Job, lang: Language) -> str | None:
    if job.error is None:
        return None
    return chinese_failure(job.error["code"], job.error["message"]) if lang == "zh" else job.error["message"]
