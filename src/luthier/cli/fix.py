"""`luthier check FILE --fix OUT`, and `--diff`: what would be changed, and changing it.

Nothing is overwritten unasked, and a file is either written whole or not at all. What is mended is `luthier.data`'s to
decide; this file shows it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from rich.console import Console
from rich.text import Text

from luthier.cli.errors import Trouble
from luthier.cli.i18n import printable
from luthier.cli.output import counted_as
from luthier.language import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from luthier.data.repair import Repair, Repairs

_AROUND = 40  # characters shown on both sides of a change


def rejects_of(out: Path) -> Path:
    """Where the lines go that cannot be mended: beside `out`."""
    return out.with_name(out.name.removesuffix(".jsonl") + ".rejects.jsonl")


def fix(
    path: Path, out: Path | None, *, force: bool, guess: bool, on_line: Callable[[int], None] | None = None
) -> Repairs:
    """Mend the JSONL file `path` into `out` and its rejects; without `out`, only say what would be done.

    Raises Trouble if a file exists and may not be replaced.
    """
    from luthier.data.repair import repair_file

    with ExitStack() as stack:
        if out is None:
            mended, rejects = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
            return repair_file(path, mended, rejects, guess=guess, on_line=on_line)
        for target in (out, rejects_of(out)):
            if target.exists() and not force:
                raise _exists(target)
        mended_file = stack.enter_context(_written(out, force=force))
        rejects_file = stack.enter_context(_written(rejects_of(out), force=force, keep_empty=False))  # is there first
        if out.exists() and out.samefile(path) and rejects_of(out).exists():
            rejects_file.write(rejects_of(out).read_bytes())  # the only copy of lines that were set aside before
        return repair_file(path, mended_file, rejects_file, guess=guess, on_line=on_line)


@contextmanager
def _written(target: Path, *, force: bool, keep_empty: bool = True) -> Iterator[IO[bytes]]:
    """A file that gets its name when it is whole; under `force` it takes the place of one with that name."""
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise Trouble(say(f"{target} cannot be written: {error}", f"{target} 无法写入：{error}")) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        temporary.chmod(0o666 & ~_umask())
        if not size and not keep_empty:
            if force:  # one from another time would mislead
                target.unlink(missing_ok=True)
        elif force:
            temporary.replace(target)
        else:
            _named(temporary, target)
    except FileExistsError as error:
        raise _exists(target) from error
    finally:
        temporary.unlink(missing_ok=True)


def _named(temporary: Path, target: Path) -> None:
    """Unlike a rename, fails if the name was taken in the meantime."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # not every file system has links
        with temporary.open("rb") as source, target.open("xb") as file:
            shutil.copyfileobj(source, file)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _exists(target: Path) -> Trouble:
    return Trouble(
        say(f"{target} exists already.", f"{target} 已存在。"),
        say("Overwrite it with --force, or name another.", "用 --force 覆盖，或另选文件名。"),
    )


def print_repairs(console: Console, repairs: Repairs, out: Path | None, *, diff: bool) -> None:
    """What was mended, by code; with `diff` each change, otherwise its line; what was guessed; what was set aside."""
    for repair in repairs.listed:
        is_offered = repair.is_guess and not repair.is_applied
        _print_change(console, repair) if diff or is_offered else _print_line(console, repair)
    mended = ", ".join(f"{code} ×{count}" for code, count in repairs.counts.items())
    if mended:
        console.print(say(f"Mended: {mended}.", f"已修正：{mended}。"), soft_wrap=True)
    else:
        console.print(say("Nothing needed mending.", "没有需要修正的内容。"))
    if any(repair.is_guess and not repair.is_applied for repair in repairs.listed):
        console.print(
            say("The guesses were not taken; take them with --guess.", "以上猜测没有采用；用 --guess 采用。"),
            soft_wrap=True,
        )
    _print_rejects(console, repairs, out)
    if out:
        written = counted_as(repairs.examples, "example")
        console.print(say(f"Wrote {out}: {written}.", f"已写出 {out}：{repairs.examples} 个样本。"), soft_wrap=True)


def _print_rejects(console: Console, repairs: Repairs, out: Path | None) -> None:
    if not repairs.rejected:
        return
    reasons = ", ".join(f"{code} ×{count}" for code, count in repairs.reasons.items())
    lines = counted_as(repairs.rejected, "line")
    where = say(f" to {rejects_of(out)}", f"，写入 {rejects_of(out)}") if out else ""
    console.print(
        Text(
            say(
                f"Cannot be mended, set aside{where}: {lines} ({reasons}).",
                f"无法修正，已另存{where}：{repairs.rejected} 行（{reasons}）。",
            ),
            style="yellow",
        ),
        soft_wrap=True,
    )


def _print_line(console: Console, repair: Repair) -> None:
    codes = ", ".join(repair.codes)
    guess = say(" (guessed)", "（猜测）") if repair.is_guess else ""
    console.print(say(f"line {repair.line}: {codes}{guess}", f"第 {repair.line} 行：{codes}{guess}"), soft_wrap=True)


def _print_change(console: Console, repair: Repair) -> None:
    """The part of the line that changes, before and after."""
    _print_line(console, repair)
    before, after = repair.before, repair.after
    start = _shared(before, after)
    tail = _shared(before[start:][::-1], after[start:][::-1])
    for sign, text, style in (("-", before, "red"), ("+", after, "green")):
        first, last = max(0, start - _AROUND), len(text) - max(0, tail - _AROUND)
        part = ("…" if first else "") + text[first:last] + ("…" if last < len(text) else "")
        console.print(Text(printable(f"  {sign} {part}"), style=style), soft_wrap=True)


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def refuse_together(fix_to: Path | None, validation: Path | None, *, force: bool, guess: bool, diff: bool) -> None:
    """Raises UsageError for flags that mean nothing together."""
    if (fix_to or diff) and validation:
        raise click.UsageError(say("--fix and --diff take one file at a time.", "--fix 和 --diff 一次只处理一个文件。"))
    if (force or guess) and not (fix_to or diff):
        raise click.UsageError(say("--force and --guess belong to --fix.", "--force 和 --guess 要与 --fix 一起用。"))
