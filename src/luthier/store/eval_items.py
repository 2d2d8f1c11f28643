"""Items of eval runs: a row each, pending until it is graded; and the totals of the items of a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Index,
    RowMapping,
    Select,
    Table,
    UniqueConstraint,
    func,
    insert,
    select,
)

from luthier.store.column_types import Int64, short_text
from luthier.store.database import key_columns, metadata, project_column
from luthier.types.common import now
from luthier.types.evals import (
    CriterionCounts,
    CriterionResult,
    ModelUsage,
    OutputItem,
    ResultCounts,
    usage_by_model,
)
from luthier.types.ids import new_id

PENDING = "pending"  # an item that is not graded yet, which the API does not show
_COUNTS = {"pass": "passed", "fail": "failed", "error": "errored"}

eval_items = Table(
    "eval_items",
    metadata,
    *key_columns(),
    Column("run_id", short_text(64), nullable=False),
    Column("eval_id", short_text(64), nullable=False),
    Column("status", short_text(16), nullable=False),
    Column("datasource_item_id", Int64, nullable=False),
    Column("datasource_item", JSON, nullable=False),
    Column("answer", JSON),  # as graders see it
    Column("sample", JSON),  # as the API shows it
    Column("results", JSON, nullable=False),
    Column("usage", JSON, nullable=False),  # by model
    Column("created_at", Int64, nullable=False),
    project_column(),
    UniqueConstraint("run_id", "datasource_item_id"),
    Index("eval_items_by_status", "run_id", "status", "seq"),
)


@dataclass(frozen=True)
class StoredItem:
    """An item of a run, with the grades so far in `results`."""

    id: str
    datasource_item: dict[str, Any]
    answer: dict[str, Any] | None
    sample: dict[str, Any] | None
    results: list[CriterionResult]
    usage: list[ModelUsage]


def add_items(connection: Connection, owner: dict[str, str], rows: Iterable[dict[str, Any]]) -> None:
    """`owner`: the columns of run, eval and project. `rows`: each with `datasource_item`, `answer` and `sample`."""
    common = {"status": PENDING, "results": [], "usage": [], "created_at": now(), **owner}
    added = [
        {"id": new_id("outputitem_", 32), "datasource_item_id": number, **common, **row}
        for number, row in enumerate(rows)
    ]
    connection.execute(insert(eval_items), added)


def graded(run_id: str) -> Select[Any]:
    """The items that the API shows."""
    return select(eval_items).where(eval_items.c.run_id == run_id, eval_items.c.status != PENDING)


def item_counts(connection: Connection, run_ids: Sequence[str]) -> dict[str, ResultCounts]:
    """The counts by run, for runs that have items."""
    columns = eval_items.c
    grouped = select(columns.run_id, columns.status, func.count().label("items"))
    query = grouped.where(columns.run_id.in_(run_ids)).group_by(columns.run_id, columns.status)
    counts: dict[str, ResultCounts] = {}
    for row in connection.execute(query):
        of_run = counts.setdefault(row.run_id, ResultCounts())
        of_run.total += row.items
        if row.status in _COUNTS:
            setattr(of_run, _COUNTS[row.status], row.items)
    return counts


def summed_results(connection: Connection, run_id: str) -> dict[str, Any]:
    """The columns of a run with the totals of its items."""
    by_criterion: dict[str, CriterionCounts] = {}
    usages: list[ModelUsage] = []
    columns = eval_items.c
    query = select(columns.results, columns.usage).where(columns.run_id == run_id).order_by(columns.seq)
    for row in connection.execute(query):
        usages = usage_by_model([*usages, *(ModelUsage(**usage) for usage in row.usage)])
        for result in row.results:
            counts = by_criterion.setdefault(result["name"], CriterionCounts(testing_criteria=result["name"]))
            counts.passed += result["passed"]
            counts.failed += not result["passed"]
    return {
        "per_model_usage": [usage.model_dump() for usage in usages],
        "per_testing_criteria_results": [counts.model_dump() for counts in by_criterion.values()],
    }


def output_item(row: RowMapping) -> OutputItem:
    return OutputItem(**{name: row[name] for name in OutputItem.model_fields if name in row})


def stored_item(row: RowMapping) -> StoredItem:
    return StoredItem(
        id=row["id"],
        datasource_item=row["datasource_item"],
        answer=row["answer"],
        sample=row["sample"],
        results=[CriterionResult(**result) for result in row["results"]],
        usage=[ModelUsage(**usage) for usage in row["usage"]],
    )
