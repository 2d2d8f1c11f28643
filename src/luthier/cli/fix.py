"""`luthier check FILE --fix OUT` and `--diff`: writes or shows the repairs of a training file.

Files appear when they are complete, and existing ones are replaced only with --force. `luthier.data` makes the repairs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from luthier.cli.check_report import print_group
from luthier.cli.errors import CliError
from luthier.cli.i18n import printable
from luthier.cli.output import plural
from luthier.data.findings.names import conversion_name, finding_name
from luthier.language import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from luthier.data.findings import Finding
    from luthier.data.repair import Repair, Repairs

_UNUSED = ("column_unused", "rows_skipped")  # codes of notes on what the conversion left out
_CONTEXT_CHARACTERS = 40  # how much text is shown before and after a change


def rejects_path(out: Path) -> Path:
    """The path of the file, beside `out`, for lines that cannot be repaired."""
    return out.with_name(out.name.removesuffix(".jsonl") + ".rejects.jsonl")


def fix(
    path: Path,
    out: Path | None,
    *,
    force: bool,
    guess: bool,
    method: str = "supervised",
    on_progress: Callable[[int], None] | None = None,
) -> Repairs:
    """Repairs the JSONL file `path` into `out` and its rejects file; without `out`, nothing is written.

    Raises:
        CliError: An output file exists and `force` is not set, or cannot be written.
    """
    from luthier.data.repair import repair_file

    with ExitStack() as stack:
        if out is None:
            repaired, rejects = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            return repair_file(path, repaired, rejects, guess=guess, method=method, on_progress=on_progress)
        for target in (out, rejects_path(out)):
            if target.exists() and not force:
                raise _exists_error(target)
        repaired_file = stack.enter_context(_atomic_file(out, force=force))
        # Opened second and therefore published first, because contexts close in reverse order.
        rejects_file = stack.enter_context(_atomic_file(rejects_path(out), force=force, keep_empty=False))
        if out.exists() and out.samefile(path) and rejects_path(out).exists():
            rejects_file.write(
                rejects_path(out).read_bytes()
            )  # it has the only copy of lines that were rejected before
        return repair_file(path, repaired_file, rejects_file, guess=guess, method=method, on_progress=on_progress)


@contextmanager
def _atomic_file(target: Path, *, force: bool, keep_empty: bool = True) -> Iterator[IO[bytes]]:
    """A file that appears as `target` when it is complete; `force` replaces an existing one.

    Unlike `replace_durably`, it refuses to replace a file without `force`, even one that was created in the meantime,
    and can leave an empty file away.
    """
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise CliError(say(f"{target} cannot be written: {error}", f"{target} 无法写入：{error}")) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        temporary.chmod(0o666 & ~_umask())
        if not size and not keep_empty:
            if force:  # an outdated file would be misleading
                target.unlink(missing_ok=True)
        elif force:
            temporary.replace(target)
        else:
            _publish(temporary, target)
    except FileExistsError as error:
        raise _exists_error(target) from error
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, target: Path) -> None:
    """Moves the file to `target`. Unlike a rename, raises FileExistsError if that was created in the meantime."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with temporary.open("rb") as source, target.open("xb") as file:
            shutil.copyfileobj(source, file)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _exists_error(target: Path) -> CliError:
    return CliError(
        say(f"{target} already exists.", f"{target} 已存在。"),
        say("Overwrite it with --force, or choose another name.", "用 --force 覆盖，或另选文件名。"),
    )


def print_repairs(console: Console, repairs: Repairs, out: Path | None, *, diff: bool) -> None:
    """Prints the repaired lines, with `diff` every change, then the counts by code, what the conversion did not use,
    the guesses and the rejects.
    """
    from luthier.data.repair import note_label

    for repair in repairs.listed:
        is_suggestion = repair.is_guess and not repair.is_applied
        _print_change(console, repair) if diff or is_suggestion else _print_line(console, repair)
    conversions = Counter(note_label(note) for note in repairs.notes if note.code not in _UNUSED)
    counts = say(", ", "，").join(f"{_name(label)} ×{count}" for label, count in (repairs.counts + conversions).items())
    if counts:
        console.print(say(f"Repaired: {counts}.", f"已修复：{counts}。"), soft_wrap=True)
    else:
        console.print(say("Nothing to repair.", "没有需要修复的内容。"))
    _print_unused(console, [note for note in repairs.notes if note.code in _UNUSED])
    if any(repair.is_guess and not repair.is_applied for repair in repairs.listed):
        console.print(
            say("The guesses were not applied; use --guess to apply them.", "以上猜测没有采用；用 --guess 采用。"),
            soft_wrap=True,
        )
    _print_rejects(console, repairs, out)
    if out:
        examples = plural(repairs.examples, "example")
        console.print(say(f"Wrote {out}: {examples}.", f"已写出 {out}：{repairs.examples} 个样本。"), soft_wrap=True)


def _print_unused(console: Console, notes: list[Finding]) -> None:
    """Prints the keys and rows that no example contains, and warnings about those that hold long texts."""
    if notes:
        names = say(", ", "、").join(note.key or note.value for note in notes)
        console.print(Text(printable(say(f"Not used: {names}.", f"未使用：{names}。"))), soft_wrap=True)
    if warnings := [note for note in notes if note.severity == "warning"]:
        print_group(console, warnings, len(warnings))


def _name(label: str) -> str:
    """The name of a label in `Repairs.counts`, which is a code, or a code with the subject of a note in brackets."""
    code, _, subject = label.removesuffix(")").partition(" (")
    if not subject:
        return finding_name(label)
    subject = say(subject, conversion_name(subject)) if code == "converted_from" else subject
    return say(label, f"{finding_name(code)}：{subject}")


def _print_rejects(console: Console, repairs: Repairs, out: Path | None) -> None:
    if not repairs.rejected:
        return
    reasons = ", ".join(f"{finding_name(code)} ×{count}" for code, count in repairs.reasons.items())
    lines = plural(repairs.rejected, "line")
    target = say(f", written to {rejects_path(out)}", f"，写入 {rejects_path(out)}") if out else ""
    console.print(
        Text(
            say(
                f"Cannot be repaired{target}: {lines} ({reasons}).",
                f"无法修复{target}：{repairs.rejected} 行（{reasons}）。",
            ),
            style="yellow",
        ),
        soft_wrap=True,
    )


def _print_line(console: Console, repair: Repair) -> None:
    codes = ", ".join(map(finding_name, repair.codes))
    guess = say(" (guessed)", "（猜测）") if repair.is_guess else ""
    console.print(say(f"line {repair.line}: {codes}{guess}", f"第 {repair.line} 行：{codes}{guess}"), soft_wrap=True)


def _print_change(console: Console, repair: Repair) -> None:
    """Prints the changed part of a line, before and after the repair."""
    _print_line(console, repair)
    before, after = repair.before, repair.after
    start = _common_prefix_length(before, after)
    tail = _common_prefix_length(before[start:][::-1], after[start:][::-1])
    for sign, text, style in (("-", before, "red"), ("+", after, "green")):
        first, end = max(0, start - _CONTEXT_CHARACTERS), len(text) - max(0, tail - _CONTEXT_CHARACTERS)
        part = ("…" if first else "") + text[first:end] + ("…" if end < len(text) else "")
        console.print(Text(printable(f"  {sign} {part}"), style=style), soft_wrap=True, no_wrap=True)


def _common_prefix_length(a: str, b: str) -> int:
    differences = (index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(differences, min(len(a), len(b)))


def check_flags(fix_to: Path | None, validation: Path | None, *, force: bool, guess: bool, diff: bool) -> None:
    """Raises UsageError for flags that cannot be combined."""
    if (fix_to or diff) and validation:
        raise click.UsageError(say("--fix and --diff take one file at a time.", "--fix 和 --diff 一次只处理一个文件。"))
    if (force or guess) and not (fix_to or diff):
        raise click.UsageError(say("--force and --guess require --fix.", "--force 和 --guess 要与 --fix 一起使用。"))
