"""The order in which waiting jobs start: by priority, then in turns between projects. Pure: knows no database."""

import heapq
import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

_UNKNOWN_DURATION_S = 3600.0  # assumed for a project's share until a job on that base model has finished here


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """`number`: the order of creation. `has_begun`: it has trained steps already. `duration_s`: None if unknown."""

    id: str
    project: str
    priority: int
    number: int
    has_begun: bool = False
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class RunningJob:
    """`remaining_s`: seconds until its trainer ends, None if unknown."""

    project: str
    remaining_s: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """A waiting job starts after `ahead` jobs, in `after_s` seconds; None if the duration of one of them is unknown."""

    job_id: str
    ahead: int
    after_s: float | None


def next_job(
    waiting: Iterable[WaitingJob], running: Mapping[str, int], trained_s: Mapping[str, float]
) -> WaitingJob | None:
    """The job that starts next; None if none is waiting.

    A higher priority comes first; then a job that was interrupted; then the project with the fewest running jobs, and
    among these the one that has recently trained least; then the oldest job.

    Args:
        waiting: The waiting jobs.
        running: The number of running jobs, by project.
        trained_s: Recent seconds of training, by project.
    """

    def rank(job: WaitingJob) -> tuple[float, ...]:
        project = job.project
        share = (running.get(project, 0), trained_s.get(project, 0.0))
        return (-job.priority, not job.has_begun, *share, job.number)

    return min(waiting, key=rank, default=None)


def starts(
    waiting: Sequence[WaitingJob], running: Sequence[RunningJob], trained_s: Mapping[str, float], trainers: int
) -> Iterator[Start]:
    """The waiting jobs in the order in which they will start, if `trainers` run at a time and nothing is added."""
    shares, queues = defaultdict(float, trained_s), defaultdict[str, deque[WaitingJob]](deque)
    for waits in sorted(waiting, key=lambda job: (-job.priority, not job.has_begun, job.number)):
        queues[waits.project].append(waits)  # the order of the jobs of one project does not depend on other projects
    for begun in running:
        shares[begun.project] += _UNKNOWN_DURATION_S if begun.remaining_s is None else begun.remaining_s
    at_work = Counter(begun.project for begun in running)
    ends = [(math.inf if begun.remaining_s is None else begun.remaining_s, begun.project) for begun in running]
    heapq.heapify(ends)
    at_s, ahead = 0.0, len(running)
    for _ in waiting:
        while len(ends) >= max(trainers, 1):
            at_s, ended = heapq.heappop(ends)
            at_work[ended] -= 1
        job = next_job([queue[0] for queue in queues.values() if queue], at_work, shares)
        if job is None:
            return
        queues[job.project].popleft()
        yield Start(job.id, ahead, at_s if math.isfinite(at_s) else None)
        ahead += 1
        at_work[job.project] += 1
        shares[job.project] += _UNKNOWN_DURATION_S if job.duration_s is None else job.duration_s
        heapq.heappush(ends, (math.inf if job.duration_s is None else at_s + job.duration_s, job.project))
