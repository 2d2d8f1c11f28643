"""`luthier check`: what is wrong with a training file, told by kind of fault, before anything is uploaded.

All judgement is `luthier.data`'s; this file shows it. Needs no server and loads no training library.
"""

from __future__ import annotations

import codecs
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from luthier.cli.check_numbers import add_numbers, print_numbers, show_example
from luthier.cli.fix import fix, print_repairs, refuse_together
from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import counted_as, notices, print_json, results
from luthier.cli.speech import printable
from luthier.cli.trouble import Trouble
from luthier.language import say

if TYPE_CHECKING:
    from luthier.data.check import Quality
    from luthier.data.convert import Hints
    from luthier.data.findings import Finding, Report
    from luthier.data.repair import Repairs

Measure = Callable[["Path", "Report", "Callable[[int], None] | None"], None]
SHOWN_PER_CODE = 3
MINIMUM_EXAMPLES = 10
# Validation is measured, not learnt from: one example is enough.
MINIMUM_VALIDATION_EXAMPLES = 1
METHODS = ("supervised", "dpo")
STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def check_files(
    training: Path | None,
    validation: Path | None,
    method: str,
    hints: Hints | None = None,
    *,
    quality: bool = True,
    measure: Measure | None = None,
) -> dict[Path, Report]:
    """The reports of the files that are given, with a progress bar on stderr; raises Trouble if one is unreadable.

    With `quality`, also what the examples teach, and what the validation file shares with the training file; `measure`
    adds what it counts.
    """
    from luthier.data.quality.look import Quality

    reports, seen = {}, None
    if training:
        seen = Quality() if quality else None
        reports[training] = _check(training, method, MINIMUM_EXAMPLES, hints, seen, measure)
    if validation:
        other = Quality(seen) if quality else None
        reports[validation] = _check(validation, method, MINIMUM_VALIDATION_EXAMPLES, hints, other, measure)
    return reports


def is_converted(report: Report) -> bool:
    """Whether the file is in a form that no server takes, so that `--fix` must write it first."""
    return bool(report.counts["converted_from"])


def _check(
    path: Path,
    method: str,
    minimum_examples: int,
    hints: Hints | None = None,
    quality: Quality | None = None,
    measure: Measure | None = None,
) -> Report:
    from luthier.data.check import check_file
    from luthier.data.convert import prepared
    from luthier.data.findings import FindingError, Report

    report = Report()
    try:
        with prepared(path, hints) as file:
            for note in file.notes:
                report.add(note)
            with reading_bar(file.path, say(f"checking {path.name}", f"检查 {path.name}")) as on_line:
                check_file(
                    file.path,
                    method=method,
                    minimum_examples=minimum_examples,
                    on_line=on_line,
                    quality=quality,
                    report=report,
                )
            if measure:
                with reading_bar(file.path, say(f"counting {path.name}", f"统计 {path.name}")) as on_line:
                    measure(file.path, report, on_line)
            return report
    except FindingError as error:  # what the file is cannot be told
        report.add(error.finding)
        return report
    except OSError as error:
        raise Trouble(say(f"{path} cannot be read: {error}", f"{path} 无法读取：{error}")) from error


@contextmanager
def reading_bar(path: Path, text: str) -> Iterator[Callable[[int], None] | None]:
    """A function that is told how many bytes of `path` are done; None where stderr is no terminal."""
    total = path.stat().st_size
    console = notices()
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=total)
        shown = 0

        def on_line(done: int) -> None:
            # A file may have millions of short lines, and a bar has a hundred places.
            nonlocal shown
            if done - shown >= total // 100:
                shown = done
                progress.update(task, completed=done)

        yield on_line


def print_report(console: Console, path: Path, report: Report) -> None:
    """The sections, one after the other."""
    for section in SECTIONS:
        section(console, path, report)


def _findings(console: Console, path: Path, report: Report) -> None:
    """Findings by code, the worst first, each code with its first lines and one remedy."""
    for severity in STYLES:
        for findings in _groups(report, severity):
            _print_group(console, findings, _count(report, findings))


def _groups(report: Report, severity: str) -> list[list[Finding]]:
    """The findings of one severity, by code, in the order of their first lines."""
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        if finding.severity == severity:
            groups[finding.code].append(finding)
    return list(groups.values())


def _count(report: Report, findings: list[Finding]) -> int:
    """How many there were in all. A report keeps only the first findings of a kind; its counts know the rest."""
    code, severity = findings[0].code, findings[0].severity
    others = sum(finding.code == code and finding.severity != severity for finding in report.findings)
    return report.counts[code] - others


def _print_group(console: Console, findings: list[Finding], count: int) -> None:
    severity = findings[0].severity
    name = {"error": say("error", "错误"), "warning": say("warning", "警告"), "note": say("note", "提示")}[severity]
    console.print(Text.assemble((name, STYLES[severity]), f"  {findings[0].code}  ×{count}"))
    for finding in findings[:SHOWN_PER_CODE]:
        console.print(printable(f"  {finding.text()}"), soft_wrap=True)
    if count > SHOWN_PER_CODE:
        more = count - SHOWN_PER_CODE
        console.print(say(f"  … and {more} more", f"  ……还有 {more} 处"))
    console.print(printable(f"  → {findings[0].remedy()}\n"), soft_wrap=True)


def _summary(console: Console, path: Path, report: Report) -> None:
    from luthier.data.estimate import n_epochs_auto

    errors, warnings = (sum(_count(report, group) for group in _groups(report, name)) for name in ("error", "warning"))
    counted = say(f"{path}: {counted_as(report.examples, 'example')}, ", f"{path}：{report.examples} 个样本，")
    found = say(
        f"{counted_as(errors, 'error')}, {counted_as(warnings, 'warning')}.", f"{errors} 个错误，{warnings} 个警告。"
    )
    text = Text.assemble(counted, (found, STYLES["error"] if errors else "green"))
    if not errors:
        epochs = n_epochs_auto(report.examples)
        text.append(say(f' Epochs if left to "auto": {epochs}.', f"轮数为 auto 时取 {epochs}。"))
    console.print(text, soft_wrap=True)


# Every section is given the console, the file and its report. The summary comes last, where the eye is.
SECTIONS: tuple[Callable[[Console, Path, Report], None], ...] = (_findings, print_numbers, _summary)


class _Encoding(click.ParamType[str]):
    """A text encoding that Python knows."""

    name = "encoding"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            "".encode(value)
            return codecs.lookup(value).name
        except LookupError:
            self.fail(say(f"{value} is no text encoding.", f"{value} 不是文本编码。"), param, ctx)


ENCODING = _Encoding()


@click.command(
    help=say(
        "Check a training file before it is uploaded: every fault with its line and its remedy. Other forms (Alpaca, "
        "ShareGPT, a JSON array, CSV, XLSX, gzip, GBK, UTF-16) are read too; --fix writes them as JSONL. Exit code 0 "
        "if it can be trained on, 1 if it has errors, 2 if it could not be checked.\n\n"
        "Examples: luthier check train.jsonl --validation valid.jsonl\n\n"
        "luthier check train.csv --fix train.jsonl",
        "上传之前检查训练文件：指出每个问题所在的行和改法。其他形式（Alpaca、ShareGPT、JSON 数组、CSV、XLSX、gzip、"
        "GBK、UTF-16）也能读，--fix 把它们写成 JSONL。可以训练时退出码为 0，有错误时为 1，无法检查时为 2。\n\n"
        "例子：luthier check train.jsonl --validation valid.jsonl\n\n"
        "luthier check train.csv --fix train.jsonl",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--validation",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=say("Check the validation file too.", "同时检查验证文件。"),
)
@click.option("--method", type=click.Choice(METHODS), default="supervised", show_default=True)
@click.option(
    "--quality/--no-quality",
    default=True,
    help=say(
        "Also look at what the examples teach: preambles, refusals, near copies, leaks, secrets … (the default).",
        "同时检查样本教的内容：应答语、拒答、近似重复、泄漏、机密信息等（默认）。",
    ),
)
@click.option(
    "--base",
    metavar="NAME",
    help=say(
        "The base model whose tokenizer counts; else that of the settings.", "用哪个基座模型的分词器统计；默认取设置。"
    ),
)
@click.option(
    "--show",
    type=click.IntRange(min=1),
    metavar="N",
    help=say(
        "Print example N as the trainer sees it, trained tokens in green.",
        "按训练器看到的样子打印第 N 个样本，参与训练的 token 为绿色。",
    ),
)
@click.option(
    "--encoding",
    metavar="NAME",
    type=ENCODING,
    help=say("The encoding of a file that is not UTF-8.", "不是 UTF-8 的文件的编码。"),
)
@click.option("--question", metavar="COLUMN", help=say("The column that holds the question.", "问题所在的列。"))
@click.option("--answer", metavar="COLUMN", help=say("The column that holds the answer.", "答案所在的列。"))
@click.option("--sheet", metavar="NAME", help=say("The sheet of a workbook.", "工作簿中的工作表。"))
@click.option(
    "--fix",
    "fix_to",
    metavar="OUT",
    type=click.Path(dir_okay=False, path_type=Path),
    help=say(
        "Write a mended copy, and beside it OUT.rejects.jsonl with the lines that cannot be mended.",
        "写出修正后的副本；无法修正的行写入旁边的 OUT.rejects.jsonl。",
    ),
)
@click.option(
    "--diff",
    is_flag=True,
    help=say("Show every change; without --fix nothing is written.", "显示每处改动；不加 --fix 时不写任何文件。"),
)
@click.option(
    "--guess",
    is_flag=True,
    help=say(
        "Take guesses at broken JSON too; look at --diff first.", "对损坏的 JSON 也采用猜测的结果；请先看 --diff。"
    ),
)
@click.option("--force", is_flag=True, help=say("Overwrite OUT.", "覆盖已有的 OUT。"))
@local_options
@pass_options
def check(
    options: Options,
    /,
    file: Path,
    validation: Path | None,
    method: str,
    quality: bool,
    base: str | None,
    show: int | None,
    fix_to: Path | None,
    diff: bool,
    guess: bool,
    force: bool,
    **hints: str | None,
) -> None:
    from luthier.data.convert import Hints, prepared

    if show:
        with prepared(file, Hints(**hints)) as ready:
            show_example(ready.path, show, base, options.json)
        return

    def measure(path: Path, report: Report, on_line: Callable[[int], None] | None) -> None:
        add_numbers(path, report, base, on_line)

    refuse_together(fix_to, validation, force=force, guess=guess, diff=diff)
    given: Hints | None = Hints(**hints)
    repairs = _repaired(file, fix_to, given, force=force, guess=guess) if fix_to or diff else None
    if repairs and not options.json:
        print_repairs(results(), repairs, fix_to, diff=diff)
    if repairs and fix_to:
        file, given = fix_to, None
    reports = check_files(file, validation, method, given, quality=quality, measure=measure)
    ok = all(report.ok for report in reports.values())
    if options.json:
        fixed = {"fix": repairs.to_dict()} if repairs else {}
        print_json({"ok": ok, "files": [_described(path, report) for path, report in reports.items()], **fixed})
    else:
        for path, report in reports.items():
            print_report(results(), path, report)
        if ok:
            results().print(say("Next: ", "下一步：") + _next(reports), soft_wrap=True)
    raise click.exceptions.Exit(0 if ok else 1)


def _repaired(path: Path, out: Path | None, hints: Hints | None, *, force: bool, guess: bool) -> Repairs | None:
    """What was mended; None if it cannot be told what the file is, which the check then says."""
    from luthier.data.convert import prepared
    from luthier.data.findings import FindingError

    try:
        with (
            prepared(path, hints) as file,
            reading_bar(file.path, say(f"mending {path.name}", f"修正 {path.name}")) as on_line,
        ):
            repairs = fix(file.path, out, force=force, guess=guess, on_line=on_line)
            for note in file.notes:
                repairs.counts[f"{note.code} ({note.seen})" if note.seen else note.code] += 1
            return repairs
    except FindingError:
        return None
    except OSError as error:
        raise Trouble(say(f"{path} cannot be read: {error}", f"{path} 无法读取：{error}")) from error


def _next(reports: dict[Path, Report]) -> str:
    for path, report in reports.items():
        if is_converted(report):
            return shlex.join(["luthier", "check", str(path), "--fix", f"{path.stem}.fixed.jsonl"])
    file, *validation = map(str, reports)
    return shlex.join(["luthier", "tune", file, *(word for path in validation for word in ("--validation", path))])


def _described(path: Path, report: Report) -> dict[str, Any]:
    return {"path": str(path), **report.to_dict()}
