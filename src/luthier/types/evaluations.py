"""Evaluations: held-out examples put to models. Luthier's own; OpenAI's specification has nothing of the kind."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from luthier.types.common import Request, Response

MOST_EXAMPLES = 64


class CreateLossesRequest(Request):
    """`examples`: as in a training file, with definitions as the model is to see them."""

    model: Annotated[str, Field(min_length=1)]
    examples: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_EXAMPLES)]


class ExampleLoss(Response):
    """Sums over the trained tokens of one example, so that a loss of many examples is Σ `loss` / Σ `weight`.

    `loss`: of negative log-probabilities by weight, in nats; `correct_tokens`: of `tokens`, those that the model finds
    likeliest; `truncated`: the example is longer than the model's context and was cut there, as in training.
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
    """As much of a run as has to be known to keep its report; the rest is kept as it is."""

    model: str
    definitions: Definitions
    figures: dict[str, Figure]


class ReportDocument(BaseModel):
    """A report as `luthier evaluate --json` prints it; the first of the runs is the model that it is about."""

    kind: Literal["functions", "text"]
    file: str
    runs: Annotated[list[ReportRun], Field(min_length=1)]


class CreateEvaluationRequest(Request):
    """Either a `validation_file` is put to the models, or a `report` that a client made is kept.

    `against`: models to compare with; `functions`: the answers are calls, with definitions sent as each of
    `definitions` says; `limit`: the first so many examples only; `max_tokens`: of an answer.
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
    """The one figure that stands for a report, of the model that it is about, with its 95 % interval."""

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
    """`done` of `total` steps are an answer or a loss each; `report` is there when one evaluation is asked for."""

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
