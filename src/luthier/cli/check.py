"""`luthier check`: the errors of a training file, by kind, before it is uploaded.

Needs no server and loads no training library.
"""

from __future__ import annotations

import codecs
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.check_numbers import BaseTokenizer, show_example
from luthier.cli.check_report import check_files, is_converted, print_report, reading_bar
from luthier.cli.errors import CliError, refused_file
from luthier.cli.fix import check_flags, fix, print_repairs
from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import plural, print_json, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from luthier.data.convert import Hints
    from luthier.data.findings import Report
    from luthier.data.repair import Repairs

METHODS = ("supervised", "dpo")  # the methods that Luthier can train with


class _Encoding(click.ParamType[str]):
    """Option type: the name of a text encoding that Python has a codec for."""

    name = "encoding"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            "".encode(value)
            return codecs.lookup(value).name
        except LookupError:
            self.fail(say(f"{value} is not a text encoding.", f"{value} 不是文本编码。"), param, ctx)


ENCODING = _Encoding()


@click.command(
    help=say(
        "Check a training file before it is uploaded: every error with its line and remedy. Other formats (Alpaca, "
        "ShareGPT, a JSON array, CSV, XLSX, gzip, GBK, UTF-16) are read too; --fix converts them to JSONL. Exit code 0 "
        "if the file is ready for training, 1 if it has errors, 2 if it could not be checked.\n\n"
        "Examples: luthier check train.jsonl --validation valid.jsonl\n\n"
        "luthier check train.csv --fix train.jsonl",
        "上传之前检查训练文件：指出每个错误所在的行和改法。其他格式（Alpaca、ShareGPT、JSON 数组、CSV、XLSX、gzip、"
        "GBK、UTF-16）也能读取，--fix 把它们转换为 JSONL。可以训练时退出码为 0，有错误时为 1，无法检查时为 2。\n\n"
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
@click.option(
    "--method",
    type=click.Choice((*METHODS, "reinforcement")),
    help=say("Training method; default: inferred from the first lines.", "训练方法；默认按开头的样本判断。"),
)
@click.option(
    "--quality/--no-quality",
    default=True,
    help=say(
        "Also check data quality: preambles, refusals, near duplicates, leakage, secrets and so on (the default).",
        "同时检查数据质量：应答语、拒答、近似重复、泄漏、机密信息等（默认）。",
    ),
)
@click.option(
    "--base",
    metavar="NAME",
    help=say(
        "Base model whose tokenizer counts tokens; default: setting `base`.",
        "用来统计 token 的基座模型；默认取设置 base。",
    ),
)
@click.option(
    "--show",
    type=click.IntRange(min=1),
    metavar="N",
    help=say(
        "Print the rendered example N, with trained tokens in green.",
        "打印第 N 个样本渲染后的内容，参与训练的 token 为绿色。",
    ),
)
@click.option(
    "--encoding",
    metavar="NAME",
    type=ENCODING,
    help=say("Encoding of the file, if not UTF-8.", "文件的编码（如果不是 UTF-8）。"),
)
@click.option("--question", metavar="COLUMN", help=say("Column of the question.", "问题所在的列。"))
@click.option("--answer", metavar="COLUMN", help=say("Column of the answer.", "回答所在的列。"))
@click.option("--sheet", metavar="NAME", help=say("Sheet of a workbook.", "工作簿中的工作表。"))
@click.option(
    "--fix",
    "fix_to",
    metavar="OUT",
    type=click.Path(dir_okay=False, path_type=Path),
    help=say(
        "Write a repaired copy to OUT, and lines that cannot be repaired to OUT.rejects.jsonl.",
        "把修复后的副本写入 OUT，无法修复的行写入 OUT.rejects.jsonl。",
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
        "Also apply guesses at broken JSON; review them with --diff first.",
        "对损坏的 JSON 也采用猜测的结果；请先用 --diff 查看。",
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
    method: str | None,
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
    from luthier.data.findings import FindingError

    if show:
        try:
            with prepared(file, Hints(**hints)) as ready:
                show_example(ready.path, show, base, method, options.json)
        except FindingError as error:
            raise refused_file(file, "cannot be shown", "无法显示", error.finding.sentence()) from error
        return

    check_flags(fix_to, validation, force=force, guess=guess, diff=diff)
    file_hints: Hints | None = Hints(**hints)
    repairs = _repair(file, fix_to, file_hints, method, force=force, guess=guess) if fix_to or diff else None
    if repairs and not options.json:
        print_repairs(stdout_console(), repairs, fix_to, diff=diff)
    if repairs and fix_to:
        file, file_hints = fix_to, None
    measure = BaseTokenizer(base).add_numbers
    reports = check_files(file, validation, method, file_hints, quality=quality, measure=measure)
    ok = all(report.ok for report in reports.values())
    if options.json:
        fixed = {"fix": repairs.to_dict()} if repairs else {}
        print_json({"ok": ok, "files": [_to_dict(path, report) for path, report in reports.items()], **fixed})
    else:
        for path, report in reports.items():
            print_report(stdout_console(), path, report, is_validation=path == validation)
        if ok:
            stdout_console().print(_next_step(reports), soft_wrap=True)
        elif not repairs and (step := _repair_step(file, file_hints, reports[file])):
            stdout_console().print(step, soft_wrap=True)
    raise click.exceptions.Exit(0 if ok else 1)


def _repair(
    path: Path, out: Path | None, hints: Hints | None, method: str | None, *, force: bool, guess: bool
) -> Repairs | None:
    """Repairs the file. None if its format is unknown, which the check reports afterwards.

    Without `out` nothing is written.

    Raises:
        CliError: The file cannot be read, or an output file exists and `force` is not set.
    """
    from luthier.data.check.method import recognised_method
    from luthier.data.convert import prepared
    from luthier.data.findings import FindingError

    try:
        with (
            prepared(path, hints) as file,
            reading_bar(file.path, say(f"repairing {path.name}", f"修复 {path.name}")) as on_progress,
        ):
            method = method or recognised_method(file.path)
            repairs = fix(file.path, out, force=force, guess=guess, method=method, on_progress=on_progress)
            repairs.notes += file.notes
            return repairs
    except FindingError:
        return None
    except OSError as error:
        raise CliError(say(f"{path} cannot be read: {error}", f"{path} 无法读取：{error}")) from error


def _repair_step(file: Path, hints: Hints | None, report: Report) -> str:
    """The next step: the `--fix` command and how many faulty examples it repairs; empty if it repairs none."""
    repairs = _repair(file, None, hints, report.method, force=False, guess=False) if report.faulty else None
    if not repairs or repairs.rejected >= report.faulty:
        return ""
    out = f"{file.stem}.fixed.jsonl"
    flags = [
        word for name, value in (hints._asdict() if hints else {}).items() if value for word in (f"--{name}", value)
    ]
    command = shlex.join(["luthier", "check", str(file), *flags, "--fix", out])
    repaired = report.faulty - repairs.rejected
    return say(
        f"Next: {command} (repairs {repaired:,} of {plural(report.faulty, 'faulty example')})",
        f"下一步：{command}（能修复 {report.faulty:,} 个有错误的样本中的 {repaired:,} 个）",
    )


def untrainable(method: str) -> str:
    """The message for a method whose files can be checked but not trained on."""
    return say(
        f"The method {method} cannot be trained here; these are for supervised and preference data: "
        "luthier tune --help",
        f"这里不能用 {method} 方法训练；可用的是监督微调和偏好微调：luthier tune --help",
    )


def _next_step(reports: dict[Path, Report]) -> str:
    opening = say("Next: ", "下一步：")
    for path, report in reports.items():
        if is_converted(report):
            return opening + shlex.join(["luthier", "check", str(path), "--fix", f"{path.stem}.fixed.jsonl"])
    (file, report), *validation_reports = reports.items()
    if report.method not in METHODS:
        return untrainable(report.method)
    validation = [path for path, _ in validation_reports]
    held_out = file.with_name(file.name.replace(".train.", ".valid."))  # the name that `luthier split` gives it
    if not validation and held_out != file and held_out.is_file():
        validation = [held_out]
    if not validation:
        return opening + shlex.join(["luthier", "split", str(file)])
    method = ["--method", report.method] if report.method != "supervised" else []
    return opening + shlex.join(["luthier", "tune", str(file), "--validation", str(validation[0]), *method])


def _to_dict(path: Path, report: Report) -> dict[str, Any]:
    return {"path": str(path), **report.to_dict()}
