"""Inspecting training files: report, examples with their trained tokens, estimate, split, repair.

Takes paths and returns response objects; knows nothing about HTTP. Texts of findings are in the requested language.
"""

import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from luthier.base_config import context_tokens
from luthier.catalogue.rates import rates_of_base
from luthier.data.check.file_check import check_file, checked_examples
from luthier.data.check.method import recognised_method
from luthier.data.check.quality.runner import QualityRunner
from luthier.data.cost_estimate import auto_epochs, openai_epochs, openai_prices, training_cost
from luthier.data.findings import FindingError, Report
from luthier.data.findings.render_errors import chinese_render_error
from luthier.data.jsonl.reader import Line, parse_line, read_lines
from luthier.data.rendering.renderer import Renderer
from luthier.data.repair import Repairs, repair_file
from luthier.data.split.splitter import Output, Split, split_file
from luthier.data.token_stats import measure
from luthier.language import Language, say
from luthier.types.errors import RenderError
from luthier.types.file_views import ExamplePage, ExampleView, Segment

_MINIMUM_EXAMPLES = 10  # of a job's training file
_MAX_SHOWN_CHARACTERS = 200_000  # of a line; longer ones are truncated


def check(path: Path) -> Report:
    """The report of a job's validation, for the training method inferred from the file."""
    method = recognised_method(path)
    return check_file(path, method=method, minimum_examples=_MINIMUM_EXAMPLES, quality=QualityRunner())


def examples(
    path: Path,
    report: Report,
    renderer: Renderer | None,
    *,
    offset: int,
    limit: int,
    findings_only: bool,
    code: str | None,
    language: Language,
) -> ExamplePage:
    """`limit` lines from index `offset` on, and the total number of lines. Without a `renderer` there are no segments.

    `findings_only`: lines with findings; `code`: with findings of this kind.
    """
    by_line: dict[int, list[dict[str, Any]]] = {}
    of_code: set[int] = set()
    for finding in report.findings:
        if finding.line is not None:
            by_line.setdefault(finding.line, []).append(finding.to_dict(language))
            of_code |= {finding.line} if finding.code == code else set()
    total, views = 0, []
    for line in _lines(path):
        if (findings_only and line.number not in by_line) or (code and line.number not in of_code):
            continue
        if offset <= total < offset + limit:
            views.append(_view(line, by_line.get(line.number, []), renderer, report.method, language))
        total += 1
    return ExamplePage(total=total, offset=offset, data=views)


def _lines(path: Path) -> Iterator[Line]:
    """The lines of a file; none if it is not text, which the report says."""
    try:
        yield from read_lines(path)
    except FindingError:
        return


def _view(
    line: Line, findings: list[dict[str, Any]], renderer: Renderer | None, method: str, language: Language
) -> ExampleView:
    value, raw, segments, problem = None, None, None, None
    try:
        parsed = parse_line(line)
        value = parsed if isinstance(parsed, dict) and len(line.raw) <= _MAX_SHOWN_CHARACTERS else None
    except FindingError:
        pass
    if value is None:
        raw = line.raw[:_MAX_SHOWN_CHARACTERS].decode("utf-8", "replace")
    elif renderer:
        try:
            segments = [_segments(renderer, example) for example in checked_examples(line, method)]
        except FindingError as error:
            problem = error.finding.text(language)
        except RenderError as error:
            problem = say(str(error), chinese_render_error(str(error)), language)
    return ExampleView(line=line.number, example=value, raw=raw, findings=findings, segments=segments, problem=problem)


def _segments(renderer: Renderer, example: Any) -> list[Segment]:
    rendered = renderer.example(example)
    runs = groupby(zip(rendered.ids, rendered.weights, strict=True), key=lambda token: token[1] > 0)
    return [Segment(text=renderer.decode([token for token, _ in tokens]), trained=trained) for trained, tokens in runs]


def estimate(
    path: Path, report: Report, base: Path, renderer: Renderer, cache: Path, n_epochs: int | None
) -> dict[str, Any]:
    """The fields of `FileEstimate` that depend on the file, the base model and the rates of this machine."""
    context = context_tokens(base)
    stats = measure(path, renderer, context, method=report.method)
    faulty = len({finding.line for finding in report.findings if finding.severity == "error" and finding.line})
    valid = stats.examples - faulty
    epochs = n_epochs or auto_epochs(valid, stats.call_share)
    hosted_epochs = n_epochs or openai_epochs(valid)
    trained_tokens = stats.total_tokens * epochs
    rates = [rate.tokens_per_s for rate in rates_of_base(cache, base.name)]
    rate = median(rates) if rates else None
    return {
        "method": report.method,
        "examples": stats.examples,
        "faulty": faulty,
        "tokens": stats.total_tokens,
        "n_epochs": epochs,
        "trained_tokens": trained_tokens,
        "truncated": stats.truncated,
        "context_tokens": context,
        "tokens_histogram": stats.to_dict()["tokens"],
        "tokens_per_s": rate,
        "seconds": trained_tokens / rate if rate else None,
        "openai_n_epochs": hosted_epochs,
        "openai_usd": {
            model: training_cost(stats.total_tokens, hosted_epochs, price / 1000)
            for model, price in openai_prices().items()
        },
    }


def split(path: Path, folder: Path, *, validation: float, seed: int) -> tuple[Split, Path, Path]:
    """Write the training and the validation file into `folder`. Raises LuthierError like `split_file`."""
    train, valid = folder / "train.jsonl", folder / "valid.jsonl"
    result = split_file(path, train, [Output("validation", valid, validation)], seed=seed, allow_empty=False)
    return result, train, valid


def repair(path: Path, target: Path, method: str) -> Repairs:
    """Write the lines of `path` to `target`, repaired if the repair is certain; lines that still have errors are
    omitted.

    Raises FindingError for a file that is not text.
    """
    with target.open("wb") as out, tempfile.TemporaryFile() as rejects:
        return repair_file(path, out, rejects, method=method)
