"""A file → a `Report` of everything that would spoil a job, each fault with its line.

Lines that are proved clean in bulk are only counted; every other line is read and examined with care. What is wrong
with an example is `form`'s to say. This module knows no tokenizer and no base model, so nothing about lengths.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import orjson

from luthier.data.check.exact_duplicates import Copies
from luthier.data.check.fast_validator import runs
from luthier.data.check.form import check_example
from luthier.data.examples.example import Example, ExampleKind, kind_of, to_example
from luthier.data.findings import Finding, FindingError, Report, problem
from luthier.data.jsonl.columnar_parser import Plain, plain
from luthier.data.jsonl.reader import Block, Line, parse_line, read_blocks, split_lines
from luthier.types.errors import JobError

_FORMATS: dict[ExampleKind, tuple[str, str]] = {  # what OpenAI calls the format, and the method that trains on it
    "chat": ("fine-tune-chat", "supervised"),
    "completion": ("fine-tune-completion", "supervised"),
    "preference": ("fine-tune-preference", "dpo"),
}


class Quality(Protocol):
    """What looks at examples whose form is right, for what they teach. One object looks at one file, once.

    Exact copies need no look: `check_file` finds them itself where there is a quality to check.
    """

    def look(self, line_number: int, example_number: int, example: dict[str, Any]) -> Iterable[Finding]:
        """Findings on one example; both numbers count from 1. Findings that name no line are given this one."""

    def finish(self) -> Iterable[Finding]:
        """Findings that only the whole file shows; called once, after the last example."""


@runtime_checkable
class BulkQuality(Quality, Protocol):
    """One that would rather be shown many proved examples at once than each as an object."""

    def look_at(self, first_line: int, first_example: int, examples: Plain) -> Iterable[Finding]:
        """Findings on examples that follow each other, on lines that do."""


def check_file(
    path: Path,
    *,
    method: str = "supervised",
    minimum_examples: int = 10,
    on_line: Callable[[int], None] | None = None,
    quality: Quality | None = None,
    report: Report | None = None,
) -> Report:
    """Check every line. Whatever the bytes are, the answer is a report; only an unreadable path raises `OSError`.

    `on_line` is given the bytes of the file consumed so far, now and then, and at the end.
    `quality` is shown every example that has no error of form. `report`: one to go on with, else a new one.
    """
    check = _Check(quality, Report() if report is None else report)
    try:
        for block in read_blocks(path):
            check.block(block)
            if on_line:
                on_line(block.end_bytes)
    except FindingError as error:  # not text at all: there are no lines to tell about
        check.report.add(error.finding)
        return check.report
    _check_whole(check.report, check.kinds, method, minimum_examples)
    check.finish()
    return check.report


def checked_example(line: Line) -> Example:
    """The example on a line of a file that may have errors; raises `FindingError`, with the line, for its first one."""
    value = parse_line(line)
    faults = check_example(value) if isinstance(value, dict) else [problem("data_type", seen=value)]
    error = next((finding for finding in faults if finding.severity == "error"), None)
    if error:
        raise FindingError(error.at(line.number))
    return to_example(value, line.number)


class _Check:
    """One file being checked: what was found so far, and what later lines are held against."""

    def __init__(self, quality: Quality | None, report: Report) -> None:
        self.report = report
        self.kinds = Counter[ExampleKind | None]()
        self._quality = quality
        self._bulk = quality if isinstance(quality, BulkQuality) else None
        self._copies = Copies()
        self._line_number = 0

    def block(self, block: Block) -> None:
        """Lines that are proved clean are only counted, unless somebody wants to look at what they say."""
        for run in runs(block.lines):
            if run.proved:
                self.kinds["chat"] += run.lines
            if run.proved and (self._bulk or not self._quality):
                if self._bulk:
                    self._look_at(self._bulk, plain(bytes(block.lines[run.start : run.end])))
                self.report.examples += run.lines
                self._line_number += run.lines
                continue
            for raw in split_lines(block.lines[run.start : run.end]):
                self._line_number += 1
                if raw and not raw.isspace():
                    self.report.examples += 1
                    line = Line(self._line_number, raw.removesuffix(b"\r"), block.end_bytes, block.cut)
                    self._proved(line) if run.proved else self._other(line)

    def finish(self) -> None:
        """What only the whole file shows of what its examples say."""
        if self._quality:
            self._copies.tell(self.report)
            for finding in self._quality.finish():
                self.report.add(finding)

    def _proved(self, line: Line) -> None:
        self._look(line, orjson.loads(line.raw))

    def _other(self, line: Line) -> None:
        example, findings = self._careful(line)
        for finding in findings:
            self.report.add(finding.at(line.number, self.report.examples))
        if any(finding.severity == "error" for finding in findings):
            self.report.faulty += 1
        elif example is not None:
            self._look(line, example)

    def _careful(self, line: Line) -> tuple[dict[str, Any] | None, list[Finding]]:
        """The object that a line holds, if it holds one, and its faults."""
        try:
            value = parse_line(line)
        except FindingError as error:
            return None, [error.finding]
        if not isinstance(value, dict):
            return None, [problem("data_type", seen=line.raw.decode().strip())]
        self.kinds[kind_of(value)] += 1
        return value, list(check_example(value))

    def _look_at(self, quality: BulkQuality, examples: Plain) -> None:
        self._copies.extend(self._line_number + 1, examples)
        for finding in quality.look_at(self._line_number + 1, self.report.examples + 1, examples):
            self.report.add(finding)

    def _look(self, line: Line, example: dict[str, Any]) -> None:
        if self._quality:
            self._copies.add(line.number, example)
            for finding in self._quality.look(line.number, self.report.examples, example):
                at = finding if finding.line else finding.at(line.number, self.report.examples)
                self.report.add(at)


def job_error(report: Report, *, file_id: str, param: str = "training_file") -> JobError | None:
    """The first error as OpenAI ends a job with it; None for a report without errors.

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


def _check_whole(report: Report, kinds: Counter[ExampleKind | None], method: str, minimum_examples: int) -> None:
    """What only the whole file shows. A wrong kind of file explains the rest, so it comes first."""
    if report.examples == 0:
        report.add(problem("file_empty", seen="0", detail=str(minimum_examples)))
        return
    for name, trains in (_FORMATS[kind] for kind in kinds if kind):
        if trains != method:
            report.add(problem("method_mismatch", key=trains, seen=name, detail=method), first=True)
    if set(kinds) == {None}:
        report.add(problem("unexpected_format"), first=True)
    if report.examples < minimum_examples:
        report.add(problem("too_few_examples", seen=report.examples, detail=str(minimum_examples)))
