"""`FineTuningJob`, its events and checkpoints, and the request that creates one.

The fields are those of OpenAI's published OpenAPI file. `auto` is replaced by numbers when the job runs.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, WithJsonSchema, field_validator

from luthier.types.common import Metadata, Request, Response
from luthier.types.graders import Grader

JobStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
FINAL: tuple[JobStatus, ...] = ("succeeded", "failed", "cancelled")
OPEN: tuple[JobStatus, ...] = ("validating_files", "queued", "running", "paused")
Auto = Literal["auto"]
MethodType = Literal["supervised", "dpo", "reinforcement"]


class Hyperparameters(Request):
    """Ranges as documented by OpenAI; `learning_rate_multiplier` scales the base model's default learning rate."""

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, allow_inf_nan=False)] = "auto"

    @field_validator("*", mode="before")
    @classmethod
    def _accept_integral_float(cls, value: Any) -> Any:
        """Accept floats such as 2.0 as integers, since JSON has only one number type."""
        return int(value) if isinstance(value, float) and value.is_integer() else value


class DPOHyperparameters(Hyperparameters):
    beta: Auto | Annotated[float, Field(gt=0, le=2)] = "auto"


class SupervisedMethod(Request):
    hyperparameters: Hyperparameters = Hyperparameters()


class DPOMethod(Request):
    hyperparameters: DPOHyperparameters = DPOHyperparameters()


class ReinforcementHyperparameters(Hyperparameters):
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"
    compute_multiplier: Auto | Annotated[float, Field(gt=1e-5, le=10)] = "auto"
    eval_interval: Auto | Annotated[int, Field(ge=1)] = "auto"
    eval_samples: Auto | Annotated[int, Field(ge=1)] = "auto"
    etest_samples: Auto | Annotated[int, Field(ge=1)] = "auto"  # as OpenAI's notebook sends it


class ReinforcementMethod(Request):
    """`response_format` is in OpenAI's guide but not in its specification."""

    grader: Grader
    hyperparameters: ReinforcementHyperparameters = ReinforcementHyperparameters()
    response_format: dict[str, Any] | None = None


class Method(Request):
    """Training method; blocks of other methods than `type` are accepted without effect."""

    type: MethodType
    supervised: SupervisedMethod | None = None
    dpo: DPOMethod | None = None
    reinforcement: ReinforcementMethod | None = None


class WandbIntegration(Request):
    project: str
    name: str | None = None
    entity: str | None = None
    tags: list[str] | None = None


class Integration(Request):
    type: Literal["wandb"]
    wandb: WandbIntegration


class CreateJobRequest(Request):
    """`test_file`: of the method `reinforcement`, as OpenAI's notebook sends it; not in OpenAI's specification."""

    model: Annotated[str, Field(min_length=1)]
    training_file: Annotated[str, Field(min_length=1)]
    validation_file: Annotated[str, Field(min_length=1)] | None = None
    test_file: Annotated[str, Field(min_length=1)] | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=2147483647)] | None = None
    integrations: Annotated[list[Integration], Field(max_length=5)] | None = None
    metadata: Metadata | None = None


# Sent back as received; these schemas name the properties that are always present.
_INTEGRATION = WithJsonSchema(
    {
        "type": "object",
        "properties": {
            "type": {"const": "wandb"},
            "wandb": {"type": "object", "properties": {"project": {"type": "string"}}, "required": ["project"]},
        },
        "required": ["type", "wandb"],
    }
)
_METHOD = WithJsonSchema(
    {"type": "object", "properties": {"type": {"enum": list(get_args(MethodType))}}, "required": ["type"]}
)


class JobErrorBody(Response):
    code: str
    message: str
    param: str | None = None


class FineTuningJob(Response):
    """Times are in Unix seconds; `trained_tokens` counts all tokens of all examples, once per epoch."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str
    created_at: int
    finished_at: int | None = None
    fine_tuned_model: str | None = None
    organization_id: str
    result_files: list[str] = Field(default_factory=list)
    status: JobStatus
    validation_file: str | None = None
    training_file: str
    hyperparameters: dict[str, Any]
    trained_tokens: int | None = None
    error: JobErrorBody | None = None
    user_provided_suffix: str | None = None
    seed: int
    estimated_finish: int | None = None
    integrations: list[Annotated[dict[str, Any], _INTEGRATION]] = Field(default_factory=list)
    metadata: dict[str, str] | None = None
    method: Annotated[dict[str, Any], _METHOD]
    usage_metrics: None = None  # sent by OpenAI, but not in its specification
    shared_with_openai: Literal[False] = False


class ModelLimits(Response):
    """`max_total_jobs`: always null, as there is no such limit."""

    max_total_jobs: int | None = None
    max_concurrent_jobs: int
    active_jobs: int


class JobEvent(Response):
    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] | None = None


class Checkpoint(Response):
    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, Any]
    fine_tuning_job_id: str
