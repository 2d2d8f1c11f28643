"""`/v1/luthier/jobs`: jobs as a person watches them, with progress, place in the queue and curves."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from luthier.event_texts import chinese_event, chinese_failure
from luthier.language import Language
from luthier.server.http.auth import CallerDep, require_priority
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.pagination import Limit, list_page
from luthier.server.model_resolver import display_name
from luthier.server.state import State, StateDep
from luthier.store import Job, Page
from luthier.store.job_priority import set_priority as change_priority
from luthier.types.common import ListPage
from luthier.types.fine_tuning import JobEvent
from luthier.types.job_views import JobMetrics, JobView, SetPriorityRequest

router = APIRouter(prefix="/v1/luthier/jobs", tags=["luthier"], route_class=StrictRoute)
_SPARKLINE_POINTS = 40


@router.get("")
def list_jobs(state: StateDep, limit: Limit = 20, after: str | None = None, lang: Language = "en") -> ListPage[JobView]:
    """Newest first."""
    page = state.store.jobs.rows(limit=limit, after=after)
    return list_page(Page(_views(state, page.data, lang), page.has_more))


@router.get("/{job_id}")
def retrieve(job_id: str, state: StateDep, lang: Language = "en") -> JobView:
    (view,) = _views(state, [state.store.jobs.get(job_id)], lang)
    return view


@router.post("/{job_id}/priority")
def set_priority(
    job_id: str, body: SetPriorityRequest, state: StateDep, caller: CallerDep, lang: Language = "en"
) -> JobView:
    """Of a job that is not over. A running job keeps running; the priority counts if it has to wait again."""
    require_priority(caller, body.priority, "priority")
    change_priority(state.store.jobs, job_id, body.priority)
    return retrieve(job_id, state, lang)


@router.get("/{job_id}/metrics")
def metrics(
    job_id: str,
    state: StateDep,
    points: Annotated[int, Query(ge=1, le=5000)] = 1000,
    after: Annotated[int, Query(ge=0)] = 0,
) -> JobMetrics:
    """The curves of the steps above `after`, each with at most `points` points."""
    job = state.store.jobs.get(job_id)
    series = state.store.job_metrics.series(job.id, after=after, points=points)
    return JobMetrics.model_validate({"job_id": job.id, "series": {name: asdict(of) for name, of in series.items()}})


@router.get("/{job_id}/events")
def list_events(
    job_id: str, state: StateDep, limit: Limit = 100, after: str | None = None, lang: Language = "en"
) -> ListPage[JobEvent]:
    """Events without metrics, the oldest first, so that `after` the last known one come the new ones."""
    page = state.store.jobs.messages(job_id, limit=limit, after=after)
    if lang == "zh":
        events = [event.model_copy(update={"message": chinese_event(event.message)}) for event in page.data]
        page = Page(events, page.has_more)
    return list_page(page)


def _views(state: State, jobs: Sequence[Job], lang: Language) -> list[JobView]:
    progress = state.store.job_metrics.progress([job.id for job in jobs], points=_SPARKLINE_POINTS)
    waits = any(job.status in ("validating_files", "queued") for job in jobs)
    places = state.store.job_queue.places(state.settings.concurrent_jobs) if waits else {}
    return [
        JobView.model_validate(
            {
                "id": job.id,
                "job": job.to_api(),
                "base": display_name(job.base),
                "progress": asdict(progress[job.id]) if job.id in progress else None,
                "queue": asdict(places[job.id]) if job.id in places else None,
                "failure": _failure(job, lang),
            }
        )
        for job in jobs
    ]


def _failure(job: Job, lang: Language) -> str | None:
    if job.error is None:
        return None
    return chinese_failure(job.error["code"], job.error["message"]) if lang == "zh" else job.error["message"]
