"""A file with faults → a file without errors, a file of the lines that could not be mended, and a list of every change.

A line without an error is copied as it is. A line with one is mended where the mending is certain, examined again, and
set aside with its reasons if an error is left; nothing is dropped. A guess (what json-repair makes of broken JSON) is
shown, and taken only if a person says so. What is wrong is not judged here but by `form` and `read`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from luthier.data.check.fast_validator import runs
from luthier.data.check.form import check_example
from luthier.data.examples.example import kind_of
from luthier.data.findings import KEPT_PER_KIND, Finding, FindingError, problem
from luthier.data.jsonl.reader import Line, parse_line, read_blocks, split_lines
from luthier.data.repair.example import mend_example
from luthier.data.repair.guess import guessed
from luthier.data.repair.text import mend_text


@dataclass(frozen=True, slots=True)
class Repair:
    """One line that was changed, or would be: what was mended, the line before and after. Guesses are marked."""

    line: int
    codes: list[str]
    before: str
    after: str
    is_guess: bool = False
    taken: bool = True


@dataclass
class Repairs:
    """What was done to a file. Of each kind of repair the first are kept; `counts` counts all of them."""

    examples: int = 0
    rejected: int = 0
    kept: list[Repair] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, repair: Repair) -> None:
        if repair.taken:
            self.counts.update(repair.codes)
        if repair.is_guess or max(self.counts[code] for code in repair.codes) <= KEPT_PER_KIND:
            self.kept.append(repair)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        shown = [{name: getattr(repair, name) for name in Repair.__slots__} for repair in self.kept]
        return {
            "examples": self.examples,
            "rejected": self.rejected,
            "counts": dict(self.counts),
            "reasons": dict(self.reasons),
            "repairs": shown,
        }


def repair_file(
    path: Path,
    out: IO[bytes],
    rejects: IO[bytes],
    *,
    guess: bool = False,
    on_line: Callable[[int], None] | None = None,
) -> Repairs:
    """Write the lines of a JSONL file to `out`, mended where need be, and those with errors left to `rejects`.

    A reject is an object: `line`, `reasons` (code and text of each error), `text`. With `guess`, guesses are taken.
    Raises `FindingError` for a file that is no text, `OSError` as `open` does.
    """
    repairs, number = Repairs(), 0
    for block in read_blocks(path):
        for run in runs(block.lines):
            if run.proved:
                out.write(block.lines[run.start : run.end].tobytes().replace(b"\r\n", b"\n"))
                number += run.lines
                repairs.examples += run.lines
                continue
            for raw in split_lines(block.lines[run.start : run.end]):
                number += 1
                if raw and not raw.isspace():
                    line = Line(number, raw.removesuffix(b"\r"), block.end_bytes, block.cut)
                    _repair_line(line, out, rejects, repairs, guess)
        if on_line:
            on_line(block.end_bytes)
    return repairs


def _repair_line(line: Line, out: IO[bytes], rejects: IO[bytes], repairs: Repairs, guess: bool) -> None:
    faults = list(errors_of(line))
    if not faults:
        out.write(line.raw + b"\n")
        repairs.examples += 1
        return
    text = line.raw.decode("utf-8", "backslashreplace")
    for attempt in () if line.cut else _attempts(line):
        is_clean = not any(errors_of(Line(line.number, attempt.after.encode(), line.end_bytes)))
        if is_clean and attempt.is_guess and not guess:
            repairs.add(Repair(line.number, attempt.codes, text, attempt.after, is_guess=True, taken=False))
        elif is_clean:
            out.write(attempt.after.encode() + b"\n")
            repairs.add(attempt)
            repairs.examples += 1
            return
    reasons = [{"code": fault.code, "text": fault.text(), "remedy": fault.remedy()} for fault in faults]
    rejects.write(orjson.dumps({"line": line.number, "reasons": reasons, "text": text}) + b"\n")
    repairs.rejected += 1
    repairs.reasons.update({fault.code for fault in faults})


def errors_of(line: Line) -> Iterator[Finding]:
    """What would make a job fail on this line."""
    try:
        value = parse_line(line)
    except FindingError as error:
        yield error.finding
        return
    if not isinstance(value, dict):
        yield problem("data_type", seen=value).at(line.number)
        return
    if kind_of(value) is None:
        yield problem("missing_messages_list").at(line.number)
        return
    yield from (found.at(line.number) for found in check_example(value) if found.severity == "error")


def _attempts(line: Line) -> Iterator[Repair]:
    """What the line could be, the certain first."""
    try:
        text = line.raw.decode("utf-8")
    except UnicodeDecodeError:
        return
    for value, codes in mend_text(text):
        mended, more = mend_example(value)
        if after := _written(mended):
            yield Repair(line.number, [*codes, *more] or ["json_invalid"], text, after)
    value = guessed(text)
    if value is not None:
        mended, more = mend_example(value)
        if after := _written(mended):
            yield Repair(line.number, ["json_invalid", *more], text, after, is_guess=True)


def _written(value: Any) -> str | None:
    """As JSON; None for what holds half a character or a number that JSON does not have."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError):
        return None
    return text
