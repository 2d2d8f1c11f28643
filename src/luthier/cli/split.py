"""`luthier split`: hold some examples out, so that a model can be measured on what it has not seen.

Which go where is `luthier.data`'s to decide; this file names the files and shows the proof. Needs no server.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from luthier.cli.check_report import reading_bar
from luthier.cli.errors import Trouble
from luthier.cli.options import Options, local_options, pass_options
from luthier.cli.output import print_json, print_table, results
from luthier.language import say

if TYPE_CHECKING:
    from luthier.data.split.splitter import Output, Split

_SHOWN_STRATA = 20
_SHARE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command(
    help=say(
        "Split a file into a training and a validation file, and a test file if asked. Examples that ask the same, or "
        "nearly, stay on one side; labels, called functions or system prompts are spread evenly; the same seed gives "
        "the same split. The files are written beside FILE: FILE.train.jsonl and so on.\n\n"
        "Example: luthier split examples.jsonl --validation 0.2 --test 0.1",
        "把文件拆成训练文件和验证文件，需要时再加测试文件。问题相同或相近的样本分在同一边；标签、调用的函数或 system "
        "提示均匀分布；种子相同则结果相同。文件写在 FILE 旁边：FILE.train.jsonl 等。\n\n"
        "例子：luthier split examples.jsonl --validation 0.2 --test 0.1",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--validation", type=_SHARE, default=0.2, show_default=True,
              help=say("Share of the examples for validation.", "验证样本的比例。"))  # fmt: skip
@click.option("--test", type=_SHARE, help=say("Share for a test file.", "测试样本的比例。"))
@click.option("--seed", type=int, default=42, show_default=True, help=say("Decides among equals.", "随机种子。"))
@click.option(
    "--by",
    default="auto",
    metavar="WHAT",
    show_default=True,
    help=say(
        "What to spread evenly: label, function, system, none, a key of the examples such as metadata.topic, or auto.",
        "按什么均匀分布：label、function、system、none、样本里的键（例如 metadata.topic），或 auto。",
    ),
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help=say("Where to write; else beside FILE.", "写到哪个文件夹；默认在 FILE 旁边。"))  # fmt: skip
@click.option("--force", is_flag=True, help=say("Replace files that are there.", "覆盖已有的文件。"))
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
    from luthier.data.split.splitter import Output, split_file

    folder = out or file.parent
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{file.stem}.{name}.jsonl" for name in ("train", "valid", "test")}
    outputs = [Output("validation", paths["valid"], validation)]
    if test:
        outputs.append(Output("test", paths["test"], test))
    try:
        with reading_bar(file, say(f"splitting {file.name}", f"拆分 {file.name}")) as on_line:
            made = split_file(file, paths["train"], outputs, seed=seed, by=by, overwrite=force, on_line=on_line)
    except OSError as error:
        raise Trouble(say(f"The files cannot be written: {error}", f"无法写入文件：{error}")) from error
    outputs.insert(0, Output("train", paths["train"], 1 - sum(one.share for one in outputs)))
    if options.json:
        files = {
            one.name: {"path": str(one.path), "examples": count}
            for one, count in zip(outputs, made.counts, strict=True)
        }
        print_json({"files": files, "seed": seed, **asdict(made)})
    else:
        _tell(outputs, made)
    raise click.exceptions.Exit(1 if made.overlap else 0)


def _tell(outputs: list[Output], made: Split) -> None:
    console = results()
    names = {"train": say("train", "训练"), "validation": say("validation", "验证"), "test": say("test", "测试")}
    for one, count in zip(outputs, made.counts, strict=True):
        share = f"{count / max(sum(made.counts), 1):.0%}"
        console.print(f"{names[one.name]:12} {count:8,}  {share:>4}  {one.path}", soft_wrap=True)
    console.print()
    if len(made.strata) > 1:
        rows = [(name, *counts) for name, counts in sorted(made.strata.items(), key=lambda item: -sum(item[1]))]
        print_table([made.by, *(names[one.name] for one in outputs)], rows[:_SHOWN_STRATA])
        if len(rows) > _SHOWN_STRATA:
            more = len(rows) - _SHOWN_STRATA
            console.print(say(f"… and {more} more", f"……还有 {more} 类"))
        console.print()
    proof = say(
        f"{made.groups:,} groups; {made.kept_together:,} examples have copies or near copies and stay with them "
        f"(largest group: {made.largest_group}). Compared again as written: {made.overlap} examples on two sides.",
        f"共 {made.groups:,} 组；{made.kept_together:,} 个样本有相同或相近的样本，都分在同一边（最大的组有 "
        f"{made.largest_group} 个）。写出后重新比较：跨边的样本 {made.overlap} 个。",
    )
    console.print(Text(proof, style="bold red" if made.overlap else "green"), soft_wrap=True)
    train, valid = (shlex.quote(str(one.path)) for one in outputs[:2])
    console.print(say("Next: ", "下一步：") + f"luthier tune {train} --validation {valid}", soft_wrap=True)
