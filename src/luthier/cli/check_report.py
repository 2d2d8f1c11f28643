"""Runs the checks of `luthier.data` with a progress bar, and prints their findings by kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from luthier.cli.check_numbers import print_numbers
from luthier.cli.errors import CliError
from luthier.cli.i18n import printable
from luthier.cli.output import plural, stderr_console
from luthier.data.findings.names import finding_name
from luthier.language import say

if TYPE_CHECKING:
    from luthier.data.check.quality.runner import QualityRunner
    from luthier.data.convert import Hints
    from luthier.data.findings import Finding, Report

Measure = Callable[["Path", "Report", "Callable[[int], None] | None"], None]
SHOWN_PER_CODE = 3
MINIMUM_EXAMPLES = 10
# A validation file is only evaluated, so one example is enough.
MINIMUM_VALIDATION_EXAMPLES = 1
STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def check_files(
    training: Path | None,
    validation: Path | None,
    method: str | None,
    hints: Hints | None = None,
    *,
    quality: bool = True,
    measure: Measure | None = None,
) -> dict[Path, Report]:
    """Checks each file, with a progress bar on stderr, and returns the reports by path.

    Args:
        method: The training method; None infers it from the first lines of the training file.
        hints: How to read a file that is not JSONL, from the command line.
        quality: Whether to check data quality too, and leakage between training and validation file.
        measure: Adds token statistics to a report.

    Raises:
        CliError: A file cannot be read.
    """
    from luthier.data.check.quality.runner import QualityRunner

    reports, training_quality = {}, None
    if training:
        training_quality = QualityRunner() if quality else None
        reports[training] = _check(training, method, MINIMUM_EXAMPLES, hints, training_quality, measure)
        method = reports[training].method
    if validation:
        validation_quality = QualityRunner(training_quality) if quality else None
        reports[validation] = _check(
            validation, method, MINIMUM_VALIDATION_EXAMPLES, hints, validation_quality, measure
        )
    return reports


def is_converted(report: Report) -> bool:
    """Whether the file is not JSONL and must be converted by `--fix` before it is uploaded."""
    return bool(report.counts["converted_from"])


def _check(
    path: Path,
    method: str | None,
    minimum_examples: int,
    hints: Hints | None = None,
    quality: QualityRunner | None = None,
    measure: Measure | None = None,
) -> Report:
    """The report of a file, with data quality and token statistics if `quality` and `measure` are given."""
    from luthier.data.check.file_check import check_file
    from luthier.data.check.method import recognised_method
    from luthier.data.convert import prepared
    from luthier.data.findings import FindingError, Report

    report = Report()
    try:
        with prepared(path, hints) as file:
            for note in file.notes:
                report.add(note)
            with reading_bar(file.path, say(f"checking {path.name}", f"检查 {path.name}")) as on_progress:
                check_file(
                    file.path,
                    method=method or recognised_method(file.path),
                    minimum_examples=minimum_examples,
                    on_progress=on_progress,
                    quality=quality,
                    report=report,
                )
            if measure:
                with reading_bar(file.path, say(f"counting {path.name}", f"统计 {path.name}")) as on_progress:
                    measure(file.path, report, on_progress)
            return report
    except FindingError as error:  # the format is unknown
        report.add(error.finding)
        return report
    except OSError as error:
        raise CliError(say(f"{path} cannot be read: {error}", f"{path} 无法读取：{error}")) from error


@contextmanager
def reading_bar(path: Path, text: str) -> Iterator[Callable[[int], None] | None]:
    """Yields a callback for the number of bytes read from `path`; None if stderr is not a terminal."""
    total = path.stat().st_size
    console = stderr_console()
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        displayed = 0

        def on_progress(done: int) -> None:
            # The bar is updated at most 100 times, since a file may have millions of short lines.
            nonlocal displayed
            if done - displayed >= total // 100:
                displayed = done
                progress.update(task, completed=done)

        yield on_progress


def print_report(console: Console, path: Path, report: Report, *, is_validation: bool = False) -> None:
    """Prints the findings, the token statistics, and at the end, next to the shell prompt, the summary."""
    _print_findings(console, report)
    print_numbers(console, path, report)
    _print_summary(console, path, report, is_validation)


def _print_findings(console: Console, report: Report) -> None:
    """Prints the findings by code, the most severe first: for each code, its first lines and its remedy."""
    for severity in STYLES:
        for findings in _groups(report, severity):
            print_group(console, findings, _count(report, findings))


def _groups(report: Report, severity: str) -> list[list[Finding]]:
    """The findings of a severity, grouped by code in the order of their first lines."""
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        if finding.severity == severity:
            groups[finding.code].append(finding)
    return list(groups.values())


def _count(report: Report, findings: list[Finding]) -> int:
    """The number of findings of a group, of which a report stores only the first ones."""
    code, severity = findings[0].code, findings[0].severity
    of_other_severity = sum(finding.code == code and finding.severity != severity for finding in report.findings)
    return report.counts[code] - of_other_severity


def print_group(console: Console, findings: list[Finding], count: int) -> None:
    """Prints the findings of one code and severity: the first ones, how many more there are, and the remedies."""
    severity = findings[0].severity
    name = {"error": say("error", "错误"), "warning": say("warning", "警告"), "note": say("note", "提示")}[severity]
    console.print(Text.assemble((name, STYLES[severity]), f"  {finding_name(findings[0].code)}  ×{count}"))
    for finding in findings[:SHOWN_PER_CODE]:
        console.print(printable(f"  {finding.text()}"), soft_wrap=True)
    if count > SHOWN_PER_CODE:
        more = count - SHOWN_PER_CODE
        console.print(say(f"  … and {more} more", f"  ……还有 {more} 处"))
    remedies: dict[str | None, str] = {}
    for finding in findings:  # a special case has a remedy of its own
        remedies.setdefault(finding.variant, finding.remedy())
    for remedy in remedies.values():
        console.print(printable(f"  → {remedy}"), soft_wrap=True)
    console.print()


def _print_summary(console: Console, path: Path, report: Report, is_validation: bool) -> None:
    from luthier.data.cost_estimate import auto_epochs

    errors, warnings = (sum(_count(report, group) for group in _groups(report, name)) for name in ("error", "warning"))
    examples = say(f"{path}: {plural(report.examples, 'example')}, ", f"{path}：{report.examples:,} 个样本，")
    totals = say(
        f"{plural(errors, 'error')}, {plural(warnings, 'warning')}.", f"{errors:,} 个错误，{warnings:,} 个警告。"
    )
    text = Text.assemble(examples, (totals, STYLES["error"] if errors else "green"))
    if not errors and not is_validation and report.method != "reinforcement":
        epochs = auto_epochs(report.examples, report.call_share)
        text.append(say(f' Epochs with "auto": {epochs}.', f"auto 的训练轮数为 {epochs}。"))
    console.print(text, soft_wrap=True)
