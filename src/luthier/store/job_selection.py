"""Selecting the jobs of a list, and grouping jobs by their metadata."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, true

from luthier.store.database import jobs
from luthier.store.json_filters import with_pairs, with_text, without_key
from luthier.types.fine_tuning import JobStatus

_MAX_GROUPS = 200
_SEARCHED = (jobs.c.id, jobs.c.name, jobs.c.suffix, jobs.c.model, jobs.c.fine_tuned_model)


@dataclass(frozen=True)
class JobSelection:
    """Selects jobs that meet all conditions; conditions that are not set match every job.

    `search`: part of an id, a name, a model or the metadata, case-insensitive. `without_key`: only jobs without this
    metadata key.
    """

    statuses: Sequence[JobStatus] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    without_key: str | None = None
    search: str = ""

    def condition(self) -> ColumnElement[bool]:
        conditions = [with_pairs(jobs.c.metadata, self.metadata)]
        if self.statuses:
            conditions.append(jobs.c.status.in_(self.statuses))
        if self.without_key is not None:
            conditions.append(without_key(jobs.c.metadata, self.without_key))
        if text := self.search.strip().lower():
            columns = [func.lower(column).contains(text, autoescape=True) for column in _SEARCHED]
            conditions.append(or_(*columns, with_text(jobs.c.metadata, text)))
        return and_(true(), *conditions)


@dataclass(frozen=True)
class JobGroup:
    """`value`: null for jobs whose metadata do not have the key."""

    value: str | None
    jobs: int
    by_status: dict[str, int]


@dataclass(frozen=True)
class JobGroups:
    """`keys`: all metadata keys of jobs. `groups`: at most 200, the one with the newest job first."""

    keys: list[str]
    groups: list[JobGroup]


def job_groups(connection: Connection, visible: Select[Any], key: str | None) -> JobGroups:
    """Group the jobs that `visible` selects."""
    columns = visible.with_only_columns(jobs.c.metadata, jobs.c.status).order_by(jobs.c.seq.desc())
    keys: set[str] = set()
    statuses: dict[str | None, Counter[str]] = {}
    for pairs, status in connection.execute(columns):
        keys.update(pairs or {})
        if key is not None:
            statuses.setdefault((pairs or {}).get(key), Counter())[status] += 1
    groups = [JobGroup(value, counts.total(), dict(counts)) for value, counts in statuses.items()]
    return JobGroups(sorted(keys), groups[:_MAX_GROUPS])
