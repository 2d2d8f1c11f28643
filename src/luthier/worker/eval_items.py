"""Processes one item of an eval run: the model, if any, answers it, and every criterion grades the answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import ValidationError

from luthier.evaluation.evals.rows import Row, usage_of
from luthier.evaluation.evals.sampling import SampleRequest, sample_request
from luthier.evaluation.graders import GraderFailure
from luthier.store import StoredItem
from luthier.types.common import Response
from luthier.types.errors import APIError
from luthier.types.eval_sources import DataSource, JsonlDataSource
from luthier.types.evals import CriterionResult, EvalError, Grade, OutputItemStatus, OutputSample, usage_by_model
from luthier.worker.application_service import ApplicationService


class Save(Protocol):
    """Stores columns of an item. Raises StoppedError."""

    def __call__(self, item_id: str, **values: Any) -> None: ...


@dataclass(frozen=True)
class ItemGrader:
    """`criteria`: those of the eval, with their ids. Methods are thread-safe and raise StoppedError."""

    service: ApplicationService
    data_source: DataSource
    criteria: Sequence[dict[str, Any]]
    save: Save

    def grade(self, item: StoredItem) -> None:
        """Grade an item, continuing where an earlier attempt stopped."""
        if item.sample is None:
            sampled = self._sampled(item)
            if sampled is None:
                return
            item = sampled
        results, usage = list(item.results), list(item.usage)
        for criterion in self.criteria[len(results) :]:
            grade = self._grade(criterion, item)
            results.append(_result(criterion, grade))
            usage = usage_by_model([*usage, *grade.usage])
            if grade.usage:  # a model has been called, which must not be called again
                self.save(item.id, results=_dumped(results), usage=_dumped(usage))
        self.save(item.id, status=_status(results), results=_dumped(results), usage=_dumped(usage))

    def _sampled(self, item: StoredItem) -> StoredItem | None:
        """Sample and store the model's answer. Returns the item; None if it ends without an answer."""
        if isinstance(self.data_source, JsonlDataSource):
            raise TypeError("a data source without a model has its samples stored")
        try:
            request = sample_request(self.data_source, item.datasource_item)
        except GraderFailure as failure:
            self._fail(item, OutputSample(error=EvalError(code="invalid_item", message=str(failure))))
            return None
        try:
            reply = self.service.post(request.path, request.body)
            row = _row(request, item, reply)
        except APIError as error:
            self._fail(item, request.failed_sample(EvalError(code=error.code or error.type, message=error.message)))
            return None
        sample = row.sample or OutputSample()
        usage = [usage_of(sample)]
        self.save(item.id, answer=row.answer, sample=sample.model_dump(), usage=_dumped(usage))
        return replace(item, answer=row.answer, sample=sample.model_dump(), usage=usage)

    def _fail(self, item: StoredItem, sample: OutputSample) -> None:
        self.save(item.id, status="error", sample=sample.model_dump())

    def _grade(self, criterion: dict[str, Any], item: StoredItem) -> Grade:
        """Grade an item by one criterion; one that cannot be applied is an error of its result, not of the run."""
        grader = {name: value for name, value in criterion.items() if name != "id"}
        body = {"criterion": grader, "item": item.datasource_item, "sample": item.answer}
        try:
            return Grade(**self.service.post("/v1/evaluations/grade", body))
        except APIError as error:
            failure = EvalError(code=error.code or error.type, message=error.message)
            return Grade(score=0.0, passed=False, error=failure, usage=[])


def _row(request: SampleRequest, item: StoredItem, reply: dict[str, Any]) -> Row:
    """Raises APIError for a response of an upstream service that does not have OpenAI's format."""
    try:
        return request.row(item.datasource_item, reply)
    except (KeyError, IndexError, TypeError, AttributeError, ValidationError) as error:
        message = f"The response is not of OpenAI's form: {type(error).__name__}: {error}"
        raise APIError(message, code="upstream_unreadable") from error


def _result(criterion: dict[str, Any], grade: Grade) -> CriterionResult:
    fields = grade.model_dump(include={"score", "passed", "sample", "error"})
    return CriterionResult(name=criterion["id"], type=criterion["type"], **fields)


def _status(results: Sequence[CriterionResult]) -> OutputItemStatus:
    if any(result.error for result in results):
        return "error"
    return "pass" if all(result.passed for result in results) else "fail"


def _dumped(objects: Sequence[Response]) -> list[dict[str, Any]]:
    return [entry.model_dump() for entry in objects]
