"""Types of the job table: a job's row, and the event that a transition writes.

Columns are interpreted only here: a job's hyperparameters are in its method, in the block named after the method's
type.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from sqlalchemy import RowMapping

from luthier.types import job_options
from luthier.types.fine_tuning import Checkpoint, FineTuningJob, JobErrorBody, JobEvent, JobStatus
from luthier.types.job_options import JobOptions

ORGANIZATION_ID = "org-luthier"


@dataclass(frozen=True)
class Event:
    """An event to record. `step` marks metrics: a step that runs again after a crash is recorded only once. `key`
    identifies an event that is recorded once per job, however often the job starts.
    """

    message: str
    level: Literal["info", "warn", "error"] = "info"
    type: Literal["message", "metrics"] = "message"
    data: dict[str, Any] | None = None
    step: int | None = None
    key: str | None = None


@dataclass(frozen=True)
class Job:
    """A row of the job table, the columns of the queue included.

    `model` is the name shown in the job, `base` the catalogue's name of the trained weights, `parent` the fine-tuned
    model that training continues from, `name` the name that a user set later. Times are Unix seconds.
    """

    id: str
    project: str
    status: JobStatus
    model: str
    base: str
    parent: str | None
    training_file: str
    validation_file: str | None
    suffix: str | None
    name: str | None
    seed: int
    method: Mapping[str, Any]
    integrations: list[dict[str, Any]]
    metadata: dict[str, str] | None
    created_at: int
    finished_at: int | None
    estimated_finish: int | None
    fine_tuned_model: str | None
    trained_tokens: int | None
    result_files: list[str]
    error: dict[str, Any] | None
    owner: str  # empty while no worker holds the lease
    lease_until: float | None
    fencing_token: int
    attempts: int

    @classmethod
    def from_row(cls, row: RowMapping) -> "Job":
        return cls(**{column: row[column] for column in _JOB_COLUMNS if column != "owner"}, owner=row["owner"] or "")

    @property
    def method_type(self) -> Literal["supervised", "dpo"]:
        method_type: Literal["supervised", "dpo"] = self.method["type"]
        return method_type

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Those of the job's method; `auto` until the trainer has resolved them."""
        return dict(self.method[self.method_type]["hyperparameters"])

    def method_with(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """The method with these hyperparameters replacing its own."""
        block = self.method[self.method_type]
        merged = {**block, "hyperparameters": {**block["hyperparameters"], **hyperparameters}}
        return {**self.method, self.method_type: merged}

    @property
    def options(self) -> JobOptions:
        """The `luthier:` keys of the metadata."""
        return job_options.parse(self.metadata)

    def to_api(self) -> FineTuningJob:
        """The job as the API shows it; the run of an integration has the job's id."""
        shared = {name: getattr(self, name) for name in _SHARED}
        return FineTuningJob(
            hyperparameters=self.hyperparameters,
            user_provided_suffix=self.suffix,
            organization_id=ORGANIZATION_ID,
            integrations=[{**entry, "wandb": {**entry["wandb"], "run_id": self.id}} for entry in self.integrations],
            error=JobErrorBody(**self.error) if self.error else None,
            **shared,
        )


_JOB_COLUMNS = [field.name for field in fields(Job)]
_COMPUTED = ("hyperparameters", "integrations", "error")
_SHARED = [name for name in FineTuningJob.model_fields if name in _JOB_COLUMNS and name not in _COMPUTED]


def job_event(row: RowMapping) -> JobEvent:
    return JobEvent(**{key: row[key] for key in ("id", "created_at", "level", "message", "type", "data")})


def checkpoint(row: RowMapping) -> Checkpoint:
    return Checkpoint(
        id=row["id"],
        created_at=row["created_at"],
        fine_tuned_model_checkpoint=row["model"],
        step_number=row["step"],
        metrics=row["metrics"],
        fine_tuning_job_id=row["job_id"],
    )
