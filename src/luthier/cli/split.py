"""`luthier split`: holds out validation and test examples, without a server.

`luthier.data` makes the split; this module names the files and prints the statistics.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.cells import cell_len
from rich.text import Text

from luthier.cli.check import METHODS, untrainable
from luthier.cli.check_report import reading_bar
from luthier.cli.errors import CliError, refused_file
from luthier.cli.i18n import printable
from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import note, plural, print_json, print_table, stdout_console
from luthier.language import say

if TYPE_CHECKING:
    from luthier.data.split.splitter import Output, Split

_SHOWN_STRATA = 20
_STRATA = {"label": ("label", "标签"), "function": ("function", "函数"), "system": ("system", "系统提示")}
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(
    help=say(
        "Split a file into a training file, a validation file and, with --test, a test file. Duplicates and near "
        "duplicates stay in one file; labels, called functions or system prompts are stratified; the same seed gives "
        "the same split. The files are written beside FILE: FILE.train.jsonl and so on. Formats other than JSONL are "
        "converted, as by luthier check --fix.\n\n"
        "Example: luthier split examples.jsonl --validation 0.2 --test 0.1",
        "把文件拆成训练文件和验证文件，加 --test 时还有测试文件。相同或近似重复的样本分在同一文件；标签、调用的函数或"
        "系统提示按比例分层；种子相同则结果相同。文件写在 FILE 旁边：FILE.train.jsonl 等。JSONL 样本以外的格式会先"
        "转换，与 luthier check --fix 相同。\n\n"
        "例子：luthier split examples.jsonl --validation 0.2 --test 0.1",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--validation", type=_SHARE, default=0.2, show_default=True,
              help=say("Fraction of validation examples.", "验证样本的比例。"))  # fmt: skip
@click.option("--test", type=_SHARE, help=say("Fraction of test examples.", "测试样本的比例。"))
@click.option("--seed", type=int, default=42, show_default=True, help=say("Random seed.", "随机种子。"))
@click.option(
    "--by",
    default="auto",
    metavar="WHAT",
    show_default=True,
    help=say(
        "Stratify by: label, function, system, none, a key of the examples such as metadata.topic, or auto.",
        "分层依据：label、function、system、none、样本里的键（例如 metadata.topic），或 auto。",
    ),
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help=say("Output folder; default: that of FILE.", "输出文件夹；默认与 FILE 相同。"))  # fmt: skip
@click.option("--force", is_flag=True, help=say("Overwrite existing files.", "覆盖已有文件。"))
@local_options
@pass_options
def split(
    options: Options,
    file: Path,
    validation: float,
    test: float | None,
    seed: int,
    by: str,
    out: Path | None,
    force: bool,
) -> None:
    from luthier.data.check.file_check import check_file
    from luthier.data.check.method import recognised_method
    from luthier.data.convert import prepared
    from luthier.data.findings import FindingError
    from luthier.data.split.splitter import Output, split_file
    from luthier.types.errors import LuthierError

    folder = out or file.parent
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{file.stem}.{name}.jsonl" for name in ("train", "valid", "test")}
    outputs = [Output("validation", paths["valid"], validation)]
    if test:
        outputs.append(Output("test", paths["test"], test))
    try:
        with (
            prepared(file) as ready,
            reading_bar(ready.path, say(f"splitting {file.name}", f"拆分 {file.name}")) as on_progress,
        ):
            method = recognised_method(ready.path)
            report = check_file(ready.path, method=method)
            if report.first_error and report.faulty == report.examples:
                raise _no_split(file, report.first_error.sentence())
            result = split_file(
                ready.path, paths["train"], outputs, seed=seed, by=by, overwrite=force, allow_empty=False,
                on_progress=on_progress,
            )  # fmt: skip
    except FindingError as error:
        raise _no_split(file, error.finding.sentence()) from error
    except LuthierError as error:
        raise CliError(say(f"{file}: {error}", f"{file}：{error}")) from error
    except OSError as error:
        raise CliError(say(f"The files cannot be written: {error}", f"无法写入文件：{error}")) from error
    outputs.insert(0, Output("train", paths["train"], 1 - sum(output.share for output in outputs)))
    for finding in ready.notes:
        note(printable(f"{file.name}: {finding.text()}"))
    if options.json:
        files = {
            output.name: {"path": str(output.path), "examples": count}
            for output, count in zip(outputs, result.counts, strict=True)
        }
        print_json({"files": files, "seed": seed, "faulty": report.faulty, **asdict(result)})
    else:
        _print_split(outputs, result)
        stdout_console().print(_next_step(outputs, result, method, report.faulty), soft_wrap=True)
    raise click.exceptions.Exit(1 if result.overlap else 0)


def _no_split(file: Path, reason: str) -> CliError:
    return refused_file(file, "cannot be split", "无法拆分", reason)


def _print_split(outputs: list[Output], result: Split) -> None:
    console = stdout_console()
    names = {"train": say("train", "训练"), "validation": say("validation", "验证"), "test": say("test", "测试")}
    for output, count in zip(outputs, result.counts, strict=True):
        share = f"{count / max(sum(result.counts), 1):.0%}"
        padding = " " * max(0, 12 - cell_len(names[output.name]))
        console.print(f"{names[output.name]}{padding} {count:8,}  {share:>4}  {output.path}", soft_wrap=True)
    console.print()
    if len(result.strata) > 1:
        by_size = sorted(result.strata.items(), key=lambda stratum: -sum(stratum[1]))
        rows = [(name, *counts) for name, counts in by_size]
        title = say(*_STRATA.get(result.by, (result.by, result.by)))
        print_table([title, *(names[output.name] for output in outputs)], rows[:_SHOWN_STRATA])
        if len(rows) > _SHOWN_STRATA:
            more = len(rows) - _SHOWN_STRATA
            console.print(say(f"… and {more} more", f"……还有 {more} 类"))
        console.print()
    statistics = say(
        f"{result.groups:,} groups; {result.kept_together:,} examples have duplicates or near duplicates and share a "
        f"file with them (largest group: {result.largest_group}). Verified after writing: {result.overlap} examples in "
        "two files.",
        f"共 {result.groups:,} 组；{result.kept_together:,} 个样本有相同或近似重复的样本，都分在同一文件（最大的组有 "
        f"{result.largest_group} 个）。写出后复核：跨文件的样本 {result.overlap} 个。",
    )
    console.print(Text(statistics, style="bold red" if result.overlap else "green"), soft_wrap=True)


def _next_step(outputs: list[Output], result: Split, method: str, faulty: int) -> str:
    if method not in METHODS:
        return untrainable(method)
    train, valid = (str(output.path) for output in outputs[:2])
    if faulty:
        total = sum(result.counts)
        return say(
            f"{faulty:,} of {plural(total, 'example')} have errors, and jobs reject such files. "
            f"Next: {shlex.join(['luthier', 'check', train, '--validation', valid])}",
            f"{total:,} 个样本中有 {faulty:,} 个有错误，训练任务会拒绝这样的文件。"
            f"下一步：{shlex.join(['luthier', 'check', train, '--validation', valid])}",
        )
    words = ["luthier", "tune", train, "--validation", valid]
    words += ["--method", method] if method != "supervised" else []
    return say("Next: ", "下一步：") + shlex.join(words)
