"""Parts of the store that are independent of projects, or leave them to the caller: views of the database, created
on access."""

from luthier.store.api_keys import ApiKeys
from luthier.store.audit_log import AuditLog
from luthier.store.database import Database
from luthier.store.exports import Exports
from luthier.store.idempotency_keys import IdempotencyKeys
from luthier.store.job_metrics import JobMetrics
from luthier.store.job_queue import JobQueue
from luthier.store.outbox import Outbox
from luthier.store.permissions import Permissions
from luthier.store.rate_limits import RateLimits
from luthier.store.trainer_usage import TrainerUsage


class CommonParts:
    _database: Database

    @property
    def exports(self) -> Exports:
        return Exports(self._database)

    @property
    def job_metrics(self) -> JobMetrics:
        """Metrics of the jobs of all projects: the caller selects the jobs."""
        return JobMetrics(self._database)

    @property
    def job_queue(self) -> JobQueue:
        """Of all projects."""
        return JobQueue(self._database)

    @property
    def trainer_usage(self) -> TrainerUsage:
        """Of all projects' jobs."""
        return TrainerUsage(self._database)

    @property
    def permissions(self) -> Permissions:
        return Permissions(self._database)

    @property
    def rate_limits(self) -> RateLimits:
        return RateLimits(self._database)

    @property
    def idempotency_keys(self) -> IdempotencyKeys:
        return IdempotencyKeys(self._database)

    @property
    def api_keys(self) -> ApiKeys:
        """Managed keys, of all projects."""
        return ApiKeys(self._database)

    @property
    def audit_log(self) -> AuditLog:
        """Of all projects."""
        return AuditLog(self._database)

    @property
    def outbox(self) -> Outbox:
        return Outbox(self._database)
