"""Evaluations of models on held-out examples: an API specific to Luthier."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from luthier.types.common import Request, Response

MAX_EXAMPLES = 64


class CreateLossesRequest(Request):
    """`examples`: as in a training file, with tool definitions in the form that is evaluated."""

    model: Annotated[str, Field(min_length=1)]
    examples: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_EXAMPLES)]


class ExampleLoss(Response):
    """Sums over the trained tokens of one example; the mean loss of several is Σ `loss` / Σ `weight`.

    `loss`: weighted negative log-likelihood in nats; `correct_tokens`: number of `tokens` that are the model's argmax;
    `truncated`: the example exceeded the model's context and was truncated, as in training.
    """

    loss: float
    weight: float
    tokens: int
    correct_tokens: int
    truncated: bool


class Losses(Response):
    """In the order of the request."""

    object: Literal["list"] = "list"
    model: str
    data: list[ExampleLoss]


Definitions = Literal["full", "slim", "none"]
EvaluationStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Figure(BaseModel):
    value: float
    low: float
    high: float
    n: int


class ReportRun(BaseModel):
    """The validated part of a run; a stored report keeps the rest unchanged."""

    model: str
    definitions: Definitions
    figures: dict[str, Figure]


class ReportDocument(BaseModel):
    """The report of `luthier evaluate --json`; its first run is the evaluated model."""

    kind: Literal["functions", "text"]
    file: str
    runs: Annotated[list[ReportRun], Field(min_length=1)]


class CreateEvaluationRequest(Request):
    """Either evaluates on a `validation_file`, or stores a `report` made by a client.

    `against`: models to compare with; `functions`: the answers are tool calls, with each form of `definitions` in the
    requests; `limit`: uses only the first examples; `max_tokens`: of each answer.
    """

    model: Annotated[str, Field(min_length=1)]
    validation_file: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    against: Annotated[list[str], Field(max_length=8)] | None = None
    functions: bool | None = None
    definitions: Annotated[list[Definitions], Field(min_length=1, max_length=3)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    report: dict[str, Any] | None = None


class Headline(Response):
    """The main metric of a report for the evaluated model, with its 95 % confidence interval."""

    figure: str
    definitions: Definitions
    value: float
    low: float
    high: float
    n: int


class EvaluationError(Response):
    code: str
    message: str


class Evaluation(Response):
    """A step of `done` and `total` is one answer or one loss; `report` is only sent when a single one is retrieved."""

    id: str
    object: Literal["evaluation"] = "evaluation"
    model: str
    status: EvaluationStatus
    validation_file: str | None = None
    filename: str | None = None
    against: list[str]
    functions: bool
    definitions: list[Definitions]
    limit: int | None = None
    max_tokens: int | None = None
    created_at: int
    finished_at: int | None = None
    done: int
    total: int
    error: EvaluationError | None = None
    headline: Headline | None = None
    report: dict[str, Any] | None = None


class EvaluationDeleted(Response):
    id: str
    object: Literal["evaluation"] = "evaluation"
    deleted: bool = True
