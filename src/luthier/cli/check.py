"""`luthier check`: what is wrong with a training file, told by kind of fault, before anything is uploaded.

Needs no server and loads no training library.
"""

from __future__ import annotations

import codecs
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luthier.cli.check_numbers import add_numbers, show_example
from luthier.cli.check_report import check_files, is_converted, print_report, reading_bar
from luthier.cli.errors import Trouble
from luthier.cli.fix import fix, print_repairs, refuse_together
from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import print_json, results
from luthier.language import say

if TYPE_CHECKING:
    from luthier.data.convert import Hints
    from luthier.data.findings import Report
    from luthier.data.repair import Repairs

METHODS = ("supervised", "dpo")


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
