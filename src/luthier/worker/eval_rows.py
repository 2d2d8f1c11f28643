"""The rows of a run's data source: from its request, from a file, or from stored completions or responses."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from luthier.evaluation.evals.rows import Row, item_problem, row_of, row_of_completion, row_of_response
from luthier.store import Store, StoredEval
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.eval_sources import (
    MAX_ITEM_BYTES,
    MAX_ITEMS,
    MAX_RUN_BYTES,
    DataSource,
    FileContent,
    FileId,
    ResponsesSource,
    StoredCompletionsSource,
    model_of,
)
from luthier.types.evals import OutputSample
from luthier.types.names import snapshot
from luthier.types.strict_json import parse_json

_PAGE_SIZE = 100


def read_rows(store: Store, of_eval: StoredEval, data_source: DataSource) -> list[dict[str, Any]]:
    """The columns `datasource_item`, `answer` and `sample` of every row; `store` is scoped to the run's project.

    The last two are None if a model is to be sampled, whatever the source has.

    Raises BadRequestError for a source that is empty, too large or does not match the eval.
    """
    columns, total_bytes, sampled = [], 0, model_of(data_source) is not None
    for number, row in enumerate(_rows(store, of_eval, data_source), 1):
        answer, sample = (None, None) if sampled else (row.answer, (row.sample or OutputSample()).model_dump())
        values = {"datasource_item": row.item, "answer": answer, "sample": sample}
        size_bytes = len(json.dumps(values))
        total_bytes += size_bytes
        if number > MAX_ITEMS:
            raise _too_large(f"more than {MAX_ITEMS:,} items")
        if size_bytes > MAX_ITEM_BYTES:
            raise _too_large(f"an item, number {number}, with more than {MAX_ITEM_BYTES:,} bytes")
        if total_bytes > MAX_RUN_BYTES:
            raise _too_large(f"more than {MAX_RUN_BYTES:,} bytes")
        columns.append(values)
    if not columns:
        raise BadRequestError("The data source has no items.", code="no_items")
    return columns


def _too_large(excess: str) -> BadRequestError:
    message = f"The data source has {excess}. Split it into several runs, or select less of it."
    return BadRequestError(message, code="data_source_too_large")


def _rows(store: Store, of_eval: StoredEval, data_source: DataSource) -> Iterator[Row]:
    source, pairs = data_source.source, of_eval.data_source_config.metadata or {}
    match source:
        case FileContent():
            yield from (row_of(row.item, row.sample) for row in source.content)
        case FileId():
            yield from _rows_of_file(store, source.id, of_eval.item_schema)
        case StoredCompletionsSource():
            yield from _completions(store, source, pairs)
        case ResponsesSource():
            yield from _responses(store, source, pairs)


def _rows_of_file(store: Store, file_id: str, schema: dict[str, Any]) -> Iterator[Row]:
    """Raises BadRequestError with file and line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.jsonl"
        try:
            name = store.files.retrieve(file_id).filename
            store.files.place(file_id, path)
        except (NotFoundError, FileNotFoundError) as error:
            raise BadRequestError(f"The file '{file_id}' does not exist any more.", code="file_not_found") from error
        with path.open("rb") as file:
            for number, raw in enumerate(iter(lambda: file.readline(MAX_ITEM_BYTES + 1), b""), 1):
                if raw.strip():
                    yield _row_of_line(raw, schema, f"{name}, line {number}")


def _row_of_line(raw: bytes, schema: dict[str, Any], place: str) -> Row:
    if len(raw) > MAX_ITEM_BYTES:
        raise _invalid(place, f"it has more than {MAX_ITEM_BYTES:,} bytes")
    try:
        line = parse_json(raw)
    except BadRequestError:
        raise _invalid(place, "it is no JSON that can be used") from None
    if not isinstance(line, dict) or not isinstance(line.get("item"), dict):
        raise _invalid(place, 'each line is an object with an object "item", such as {"item": {"question": "…"}}')
    sample = line.get("sample")
    if sample is not None and not isinstance(sample, dict):
        raise _invalid(place, '"sample" is an object')
    problem = item_problem(schema, line["item"])
    if problem:
        raise _invalid(place, problem)
    return row_of(line["item"], sample)


def _invalid(place: str, problem: str) -> BadRequestError:
    return BadRequestError(f"{place}: {problem}.", code="invalid_item")


def _completions(store: Store, source: StoredCompletionsSource, pairs: Mapping[str, str]) -> Iterator[Row]:
    """The newest first."""
    stored, after, rows = store.stored_completions, None, 0
    pairs = {**pairs, **(source.metadata or {})}
    while True:
        page = stored.list(model=source.model, pairs=pairs, limit=_PAGE_SIZE, after=after, ascending=False)
        for completion in page.data:
            if not _is_between(completion.created, source):
                continue
            if source.limit is not None and rows >= source.limit:
                return
            rows += 1
            yield row_of_completion(completion, stored.messages(completion.id))
        if not page.has_more:
            return
        after = page.data[-1].id


def _is_between(created: int, source: StoredCompletionsSource) -> bool:
    after, before = source.created_after, source.created_before
    return (after is None or created >= after) and (before is None or created <= before)


def _responses(store: Store, source: ResponsesSource, pairs: Mapping[str, str]) -> Iterator[Row]:
    """The newest first."""
    responses = store.responses
    for response_id in responses.ids(created_after=source.created_after, created_before=source.created_before):
        response = responses.retrieve(response_id).response
        if _is_selected(response, source, {**pairs, **(source.metadata or {})}):
            yield row_of_response(response, responses.prompt(response_id))


def _is_selected(response: Mapping[str, Any], source: ResponsesSource, pairs: Mapping[str, str]) -> bool:
    metadata, tools = response.get("metadata") or {}, {tool.get("name") for tool in response.get("tools") or []}
    effort = (response.get("reasoning") or {}).get("effort")
    return (
        pairs.items() <= metadata.items()
        and (source.model is None or response["model"] in {source.model, snapshot(source.model)})
        and (source.instructions_search or "") in (response.get("instructions") or "")
        and source.reasoning_effort in (None, effort)
        and source.temperature in (None, response.get("temperature"))
        and source.top_p in (None, response.get("top_p"))
        and (source.users is None or response.get("user") in source.users)
        and (source.tools is None or bool(tools & set(source.tools)))
    )
