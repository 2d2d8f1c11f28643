"""Stage 5, repair: a file with faults in; out come a file without errors, a file of rejects, and a list of changes.

A line without errors is copied unchanged. A line with errors is repaired where the repair is certain, checked again,
and rejected with the reasons if errors remain; no line is dropped. A guess (json-repair's reading of broken JSON) is
shown if it loses no letter, and applied only if the caller agrees. The faults are found by `jsonl` and
`check.structure`.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from luthier.data.check.structure import check_example
from luthier.data.findings import MAX_FINDINGS_PER_KIND, Finding, FindingError, make_finding
from luthier.data.jsonl import lossless_json
from luthier.data.jsonl.fast_validator import find_runs
from luthier.data.jsonl.reader import Line, joined_halves, parse_line, read_blocks, split_lines
from luthier.data.repair.example import repair_example
from luthier.data.repair.guess import guess_json, loses_no_text
from luthier.data.repair.text import repair_text
from luthier.types.errors import RenderError


@dataclass(frozen=True, slots=True)
class Repair:
    """The repair of one line: the codes of its faults, its text before and after.

    A guess is not applied (`is_applied`) unless the caller agrees; it is only shown.
    """

    line: int
    codes: list[str]
    before: str
    after: str
    is_guess: bool = False
    is_applied: bool = True

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "line": self.line,
            "codes": self.codes,
            "before": self.before,
            "after": self.after,
            "is_guess": self.is_guess,
            "taken": self.is_applied,
        }


@dataclass
class Repairs:
    """The repairs of a file. `counts` counts all of them by code; `listed` has the first of each code.

    `notes`: the findings on the file's conversion, which the caller adds.
    """

    examples: int = 0
    rejected: int = 0
    listed: list[Repair] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    notes: list[Finding] = field(default_factory=list)

    def add(self, repair: Repair) -> None:
        if repair.is_applied:
            self.counts.update(repair.codes)
        if repair.is_guess or max(self.counts[code] for code in repair.codes) <= MAX_FINDINGS_PER_KIND:
            self.listed.append(repair)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "examples": self.examples,
            "rejected": self.rejected,
            "counts": dict(self.counts + Counter(map(note_label, self.notes))),
            "reasons": dict(self.reasons),
            "repairs": [repair.to_dict() for repair in self.listed],
        }


def note_label(note: Finding) -> str:
    """The label under which a note is counted: its code, with its subject in brackets."""
    subject = note.key or note.value
    return f"{note.code} ({subject})" if subject else note.code


def repair_file(
    path: Path,
    out: IO[bytes],
    rejects: IO[bytes],
    *,
    guess: bool = False,
    method: str = "supervised",
    on_progress: Callable[[int], None] | None = None,
) -> Repairs:
    """Writes the lines of a JSONL file to `out`, repaired where necessary, and those that keep errors to `rejects`.

    A reject is an object: `line`, `reasons` (code, text and remedy of each error, also of those that would remain
    after the repairs), `text`. With `guess`, guesses are
    applied. `method`: the training method for which the file is checked.
    Raises `FindingError` for a file that is not text, and `OSError` as `open` does.
    """
    repairs, number = Repairs(), 0
    for block in read_blocks(path):
        for run in find_runs(block.lines):
            if run.is_valid and method != "reinforcement":
                out.write(block.lines[run.start : run.end].tobytes().replace(b"\r\n", b"\n"))
                number += run.line_count
                repairs.examples += run.line_count
                continue
            for raw in split_lines(block.lines[run.start : run.end]):
                number += 1
                if raw and not raw.isspace():
                    line = Line(number, raw.removesuffix(b"\r"), block.end_bytes, block.is_truncated)
                    _repair_line(line, out, rejects, repairs, guess, method)
        if on_progress:
            on_progress(block.end_bytes)
    return repairs


def _repair_line(line: Line, out: IO[bytes], rejects: IO[bytes], repairs: Repairs, guess: bool, method: str) -> None:
    errors = list(errors_of(line, method))
    if not errors:
        out.write(line.raw + b"\n")
        repairs.examples += 1
        return
    text = line.raw.decode("utf-8", "backslashreplace")
    remaining: list[Finding] = []
    for attempt in () if line.is_truncated else _attempts(line):
        faults = list(errors_of(Line(line.number, attempt.after.encode(), line.end_bytes), method))
        is_clean = not faults
        remaining += [] if attempt.is_guess else faults
        if is_clean and attempt.is_guess and not guess:
            repairs.add(Repair(line.number, attempt.codes, text, attempt.after, is_guess=True, is_applied=False))
        elif is_clean:
            out.write(attempt.after.encode() + b"\n")
            repairs.add(attempt)
            repairs.examples += 1
            return
    codes = {error.code for error in errors}
    errors += [fault for fault in remaining if fault.code not in codes]  # those that appear when others are repaired
    reasons = [{"code": error.code, "text": error.text(), "remedy": error.remedy()} for error in errors]
    rejects.write(orjson.dumps({"line": line.number, "reasons": reasons, "text": text}) + b"\n")
    repairs.rejected += 1
    repairs.reasons.update({error.code for error in errors})


def errors_of(line: Line, method: str = "supervised") -> Iterator[Finding]:
    """The errors on this line that would fail a job."""
    try:
        value = parse_line(line)
    except FindingError as error:
        yield error.finding
        return
    if not isinstance(value, dict):
        yield make_finding("data_type", value=value).at(line.number)
        return
    yield from (finding.at(line.number) for finding in check_example(value, method) if finding.severity == "error")


def _attempts(line: Line) -> Iterator[Repair]:
    """Possible repairs of the line, the certain one first."""
    text = joined_halves(line.raw)
    if text is None:
        return
    joined = [] if text.encode() == line.raw else ["encoding_invalid"]
    for value, codes in repair_text(text):
        repaired, more = repair_example(value)
        if after := _to_json(repaired):
            yield Repair(line.number, [*joined, *codes, *more] or ["json_invalid"], text, after)
    value = guess_json(text)
    if value is not None:
        repaired, more = repair_example(value)
        after = _to_json(repaired)
        if after and loses_no_text(text, after):
            yield Repair(line.number, ["json_invalid", *more], text, after, is_guess=True)


def _to_json(value: Any) -> str | None:
    """The JSON of a value; None if it has a lone surrogate or a number that JSON cannot represent."""
    try:
        text = lossless_json.dumps(value, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError, RenderError):
        return None
    return text
