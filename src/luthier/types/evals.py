"""Evals, their runs and output items: the objects of OpenAI's Evals API."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.types.common import Metadata, Request, Response
from luthier.types.eval_sources import DataSource
from luthier.types.graders import SubGrader

MAX_CRITERIA = 32

RunStatus = Literal["queued", "in_progress", "completed", "canceled", "failed"]
OutputItemStatus = Literal["pass", "fail", "error"]
Criteria = Annotated[list[SubGrader], Field(fail_fast=True, min_length=1, max_length=MAX_CRITERIA)]
_Name = Annotated[str, Field(max_length=256)]


class CustomConfig(Request):
    """`item_schema`: the JSON schema of each item."""

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: bool | None = None


class LogsConfig(Request):
    """Items are stored chat completions or responses; `metadata` selects the same ones in every run."""

    type: Literal["logs", "stored_completions"]
    metadata: Metadata | None = None


class CreateEvalRequest(Request):
    data_source_config: Annotated[CustomConfig | LogsConfig, Field(discriminator="type")]
    testing_criteria: Criteria
    name: _Name | None = None
    metadata: Metadata | None = None


class UpdateEvalRequest(Request):
    """Fields that are absent keep their value."""

    name: _Name | None = None
    metadata: Metadata | None = None


class CreateEvalRunRequest(Request):
    data_source: DataSource
    name: _Name | None = None
    metadata: Metadata | None = None


class DataSourceConfig(Response):
    """`document` is `schema` on the wire, a name that pydantic reserves: the JSON schema of an item and its sample."""

    type: Literal["custom", "logs", "stored_completions"]
    document: dict[str, Any] = Field(alias="schema")
    metadata: dict[str, str] | None = None


class Eval(Response):
    """An eval. `testing_criteria` are returned as sent, each with an `id`, which results refer to."""

    id: str
    object: Literal["eval"] = "eval"
    name: str
    data_source_config: DataSourceConfig
    testing_criteria: list[dict[str, Any]]
    created_at: int
    metadata: dict[str, str]


class EvalDeleted(Response):
    object: Literal["eval.deleted"] = "eval.deleted"
    deleted: bool = True
    eval_id: str


class EvalError(Response):
    code: str
    message: str


class ResultCounts(Response):
    """Output items so far by their status; `total` counts all items of the run, once its data source has been read."""

    total: int = 0
    errored: int = 0
    failed: int = 0
    passed: int = 0


class ModelUsage(Response):
    """Tokens used by one model: the sampled model, or a model that grades."""

    model_name: str
    invocation_count: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0


def usage_by_model(usages: Iterable[ModelUsage]) -> list[ModelUsage]:
    """The sums for each model, in the order in which models appear first."""
    by_model: dict[str, ModelUsage] = {}
    for usage in usages:
        total = by_model.setdefault(usage.model_name, ModelUsage(model_name=usage.model_name))
        for name in ModelUsage.model_fields.keys() - {"model_name"}:
            setattr(total, name, getattr(total, name) + getattr(usage, name))
    return list(by_model.values())


class CriterionCounts(Response):
    """`testing_criteria`: the id of the criterion."""

    testing_criteria: str
    passed: int = 0
    failed: int = 0


class EvalRun(Response):
    """`per_model_usage` and `per_testing_criteria_results` are filled when the run has ended."""

    id: str
    object: Literal["eval.run"] = "eval.run"
    eval_id: str
    name: str
    model: str
    status: RunStatus
    created_at: int
    report_url: str = ""
    result_counts: ResultCounts = ResultCounts()
    per_model_usage: list[ModelUsage] = Field(default_factory=list)
    per_testing_criteria_results: list[CriterionCounts] = Field(default_factory=list)
    data_source: dict[str, Any]
    error: EvalError | None = None
    metadata: dict[str, str]


class EvalRunDeleted(Response):
    object: Literal["eval.run.deleted"] = "eval.run.deleted"
    deleted: bool = True
    run_id: str


class SampleUsage(Response):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0


class SampleMessage(Response):
    role: str
    content: str
    tool_call_id: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    function_call: dict[str, Any] | None = None


class OutputSample(Response):
    """The input and the answer of a model. Without sampling, the answer in the data source."""

    input: list[SampleMessage] = Field(default_factory=list)
    output: list[SampleMessage] = Field(default_factory=list)
    finish_reason: str = "stop"
    model: str = ""
    usage: SampleUsage = SampleUsage()
    error: EvalError | None = None
    temperature: float = 1.0
    max_completion_tokens: int = 0
    top_p: float = 1.0
    seed: int = 0


class CriterionResult(Response):
    """The result of one criterion. `name`: the id of the criterion. `sample`: the answer of the grading model; null
    for other graders."""

    name: str
    type: str
    score: float
    passed: bool
    sample: dict[str, Any] | None = None
    error: EvalError | None = None


class OutputItem(Response):
    """`status` is `error` where sampling or a grader failed, which says nothing about the answer."""

    id: str
    object: Literal["eval.run.output_item"] = "eval.run.output_item"
    run_id: str
    eval_id: str
    created_at: int
    status: OutputItemStatus
    datasource_item_id: int
    datasource_item: dict[str, Any]
    results: list[CriterionResult]
    sample: OutputSample


class GradeRequest(Request):
    """`sample`: an answer with `output_text`, `output_tools` or `choices`; absent if the item has none."""

    criterion: SubGrader
    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class Grade(Response):
    """`usage`: of the models that graded. With `error` the score is 0."""

    score: float
    passed: bool
    sample: dict[str, Any] | None = None
    error: EvalError | None = None
    usage: list[ModelUsage]
