"""Checks a file: a `Report` of everything that would fail or spoil a job, each finding with its line.

Lines that bulk validation passes are only counted; every other line is parsed and checked one by one. Lengths in tokens
are not checked here: they need the tokenizer of a base model.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from luthier.data.check.exact_duplicates import ExactDuplicates
from luthier.data.check.structure import check_example, is_misfit
from luthier.data.examples.example import Example, ExampleKind, has_calls, kind_of, to_example
from luthier.data.examples.foreign_forms import foreign_form
from luthier.data.examples.preferences import to_preference
from luthier.data.findings import Finding, FindingError, Report, make_finding, printable
from luthier.data.jsonl.columnar_parser import ChatColumns, parse_columns
from luthier.data.jsonl.fast_validator import find_runs
from luthier.data.jsonl.reader import Block, Line, parse_line, read_blocks, split_lines
from luthier.types.errors import JobError

_FORMATS: dict[ExampleKind, tuple[str, tuple[str, ...]]] = {  # OpenAI's name of the format, the methods that use it
    "chat": ("fine-tune-chat", ("supervised", "reinforcement")),
    "completion": ("fine-tune-completion", ("supervised",)),
    "preference": ("fine-tune-preference", ("dpo",)),
}


class Quality(Protocol):
    """Checks the content of the examples without structural errors. One instance checks one file, once.

    Exact duplicates are not its task: `check_file` finds them itself when it is given a `Quality`.
    """

    def check(self, line_number: int, example_number: int, example: dict[str, Any]) -> Iterable[Finding]:
        """Findings on one example; both numbers count from 1. A finding without a line gets `line_number`."""

    def check_columns(self, first_line: int, first_example: int, examples: ChatColumns) -> Iterable[Finding]:
        """Findings on consecutive examples, on consecutive lines."""

    def finish(self) -> Iterable[Finding]:
        """Findings that need the whole file; called once, after the last example."""


class Survey(Protocol):
    """Receives every example without structural errors, except plain chats, which neither define nor call functions."""

    def add(self, example: dict[str, Any]) -> None: ...


def check_file(
    path: Path,
    *,
    method: str = "supervised",
    minimum_examples: int = 10,
    on_progress: Callable[[int], None] | None = None,
    quality: Quality | None = None,
    survey: Survey | None = None,
    report: Report | None = None,
) -> Report:
    """Checks every line. Any bytes give a report; only an unreadable path raises (`OSError`).

    `on_progress` is called with the byte offset in the file, after every block. `report`: a report to add to, instead
    of a new one.
    """
    report = Report() if report is None else report
    report.method = method
    check = _FileCheck(report, quality, survey)
    try:
        for block in read_blocks(path):
            check.add_block(block)
            if on_progress:
                on_progress(block.end_bytes)
    except FindingError as error:  # not text at all: there are no lines to report
        check.report.add(error.finding)
        return check.report
    _check_methods(check.report, check.kinds, check.first_lines)
    _check_totals(check.report, minimum_examples)
    check.report_format()
    check.finish()
    return check.report


def checked_examples(line: Line, method: str = "supervised") -> list[Example]:
    """The conversations of a line of a file that may have errors: one, or the two of a preference pair, the preferred
    one first. Raises `FindingError`, with the line, on an error.
    """
    value = parse_line(line)
    findings = check_example(value, method) if isinstance(value, dict) else [make_finding("data_type", value=value)]
    error = next((finding for finding in findings if finding.severity == "error"), None)
    if error:
        raise FindingError(error.at(line.number))
    if kind_of(value) != "preference":
        return [to_example(value, line.number)]
    pair = to_preference(value, line.number)
    return [pair.preferred, pair.non_preferred]


class _FileCheck:
    """One file being checked: its findings so far, and the state that later lines are compared with."""

    def __init__(self, report: Report, quality: Quality | None, survey: Survey | None) -> None:
        self.report = report
        self.kinds = Counter[ExampleKind | None]()
        self.first_lines: dict[ExampleKind | None, int] = {}
        self._quality = quality
        self._survey = survey
        self._duplicates = ExactDuplicates()
        self._foreign: dict[str | None, str] = {}  # by form, the keys of its first line
        self._line_number = 0

    def add_block(self, block: Block) -> None:
        for run in find_runs(block.lines):
            lines = block.lines[run.start : run.end]
            # Bulk validation requires an answer at the end, which items for reinforcement fine-tuning must not have.
            if run.is_valid and self.report.method != "reinforcement":
                self._add_valid_lines(lines, run.line_count)
                continue
            for raw in split_lines(lines):
                self._line_number += 1
                if raw and not raw.isspace():
                    self.report.examples += 1
                    self._add_line(
                        Line(self._line_number, raw.removesuffix(b"\r"), block.end_bytes, block.is_truncated)
                    )

    def report_format(self) -> None:
        """If no line is an example, adds a finding that names what the lines are.

        It comes first, because it explains all other findings.
        """
        if self._foreign and set(self.kinds) == {None}:
            form, keys = next(iter(self._foreign.items())) if len(self._foreign) == 1 else (None, "")
            keys = keys or next(iter(self._foreign.values()))
            self.report.add(make_finding("unexpected_format", value=keys, detail=form or ""), first=True)

    def finish(self) -> None:
        """Adds the quality findings that need the whole file."""
        if self._quality:
            self._duplicates.report_to(self.report)
            for finding in self._quality.finish():
                self.report.add(finding)

    def _add_valid_lines(self, lines: memoryview, line_count: int) -> None:
        """Counts lines that bulk validation has passed. They are parsed only for the quality checks."""
        self.kinds["chat"] += line_count
        self.first_lines.setdefault("chat", self._line_number + 1)
        if self._quality:
            examples = parse_columns(bytes(lines))
            self._duplicates.extend(self._line_number + 1, examples)
            for finding in self._quality.check_columns(self._line_number + 1, self.report.examples + 1, examples):
                self.report.add(finding)
        self.report.examples += line_count
        self._line_number += line_count

    def _add_line(self, line: Line) -> None:
        example, findings = self._check_line(line)
        for finding in findings:
            self.report.add(finding.at(line.number, self.report.examples))
        if any(finding.severity == "error" for finding in findings):
            self.report.faulty += 1
        elif example is not None:
            self._add_valid_example(line, example)

    def _add_valid_example(self, line: Line, example: dict[str, Any]) -> None:
        self.report.with_calls += any(has_calls(message) for message in example.get("messages", ()))
        if self._survey:
            self._survey.add(example)
        if self._quality:
            self._duplicates.add(line.number, example)
            for finding in self._quality.check(line.number, self.report.examples, example):
                self.report.add(finding if finding.line else finding.at(line.number, self.report.examples))

    def _check_line(self, line: Line) -> tuple[dict[str, Any] | None, list[Finding]]:
        """(the object on the line, if it is one; its structural findings)."""
        try:
            value = parse_line(line)
        except FindingError as error:
            return None, [error.finding]
        if not isinstance(value, dict):
            return None, [make_finding("data_type", value=line.raw.decode().strip())]
        kind = kind_of(value)
        self.kinds[kind] += 1
        self.first_lines.setdefault(kind, line.number)
        if kind is None and not is_misfit(value):
            self._foreign.setdefault(foreign_form(value), printable(", ".join(value) or "–"))
        return value, list(check_example(value, self.report.method))


def job_error(report: Report, *, file_id: str, param: str = "training_file") -> JobError | None:
    """The first error in the words with which OpenAI fails a job; None for a report without errors.

    `param` is `training_file` or `validation_file`.
    """
    finding = report.first_error
    if finding is None:
        return None
    wire = finding.wire(file_id=file_id, param=param)
    if finding.code in ("too_few_examples", "file_empty"):
        return JobError("invalid_n_examples", wire, param)
    opening = f"The job failed due to an invalid {param.replace('_', ' ')}. "
    if finding.code != "unexpected_format":  # the one message that OpenAI sends without these words
        opening += "Invalid file format. "
    return JobError(f"invalid_{param}", opening + wire, param)


def _check_methods(
    report: Report, kinds: Counter[ExampleKind | None], first_lines: dict[ExampleKind | None, int]
) -> None:
    """Findings on examples of another method. A wrong format explains all other findings, so it comes first."""
    others = [kind for kind in kinds if kind and report.method not in _FORMATS[kind][1]]
    is_mixed = any(kind and report.method in _FORMATS[kind][1] for kind in kinds)
    for kind in others:
        name, methods = _FORMATS[kind]
        if is_mixed:
            finding = make_finding("methods_mixed", key=str(kinds[kind]), value=name, detail=report.method)
            finding = finding.at(first_lines[kind])
        else:
            finding = make_finding("method_mismatch", key=methods[0], value=name, detail=report.method)
        report.add(finding, first=True)


def _check_totals(report: Report, minimum_examples: int) -> None:
    """Findings on the number of examples."""
    if report.examples == 0:
        report.add(make_finding("file_empty", value="0", detail=str(minimum_examples)))
    elif report.examples < minimum_examples:
        report.add(make_finding("too_few_examples", value=report.examples, detail=str(minimum_examples)))
