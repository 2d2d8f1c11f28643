"""One file of examples → a training file, a validation file and perhaps a test file.

Which side an example lands on hangs on the seed and the file alone. Examples that ask the same, or are nearly the
same, stay together: a model must not be validated on what it was trained on. Sides are alike in what they hold: labels,
called functions or system prompts. Lines are copied as they stand. Nothing here knows a tokenizer.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from luthier.data.check.form import check_example
from luthier.data.check.quality.columns import Batch
from luthier.data.check.quality.near_duplicates import Rows, fingerprints, related
from luthier.data.examples.example import kind_of
from luthier.data.findings import shown
from luthier.data.jsonl.reader import parse_line, read_lines
from luthier.data.split.stratified_groups import components, deal
from luthier.language import say
from luthier.types.errors import LuthierError

KINDS = ("auto", "label", "function", "system", "none")
_BATCH = 1024
_LABEL = 40  # characters at most
_FEW = 50  # different labels or system prompts at most; more are texts, not classes

_UNREADABLE = frozenset(
    (
        "missing_messages_list",
        "message_type",
        "content_type",
        "call_invalid",
        "arguments_not_json",
        "definition_invalid",
    )
)


class Output(NamedTuple):
    """One side: its name for people, its file, and its share of the examples."""

    name: str
    path: Path
    share: float


@dataclass(frozen=True)
class Split:
    """What was done. `counts` and `strata` are in the order of the outputs, the training file first.

    `groups`: how many there are; `kept_together`: the examples in groups of more than one; `overlap`: the examples of a
    later file that are related to one in an earlier file, counted in the files as they were written.
    """

    by: str
    counts: list[int]
    groups: int
    kept_together: int
    largest_group: int
    overlap: int
    strata: dict[str, list[int]]


def split_file(
    path: Path,
    train: Path,
    others: Sequence[Output],
    *,
    seed: int = 42,
    by: str = "auto",
    overwrite: bool = False,
    on_line: Callable[[int], None] | None = None,
) -> Split:
    """Write the training file `train` and the `others`; all of them appear, whole, or none does.

    `by`: one of `KINDS`, or a key of the examples (a dot leads inside). Raises `LuthierError` if the file cannot be
    read as JSON lines, holds no such key, or an output would replace a file.
    """
    shares = [1 - sum(one.share for one in others), *(one.share for one in others)]
    if not all(0 < share < 1 for share in shares):
        raise LuthierError(say("the shares must be above 0 and leave something to train on",
                               "各部分的比例必须大于 0，并给训练留下样本"))  # fmt: skip
    targets = [train, *(one.path for one in others)]
    _refuse_to_replace(path, targets, overwrite)
    values, rows, facts = _read(path, by, on_line)
    chosen, strata = _strata(facts, values, by)
    groups, sides = _apart(rows, strata, shares, seed)
    overlap = _write(path, targets, sides)
    sizes = Counter(groups)
    table = {name: [0] * len(targets) for name in sorted(set(strata))}
    for stratum, side in zip(strata, sides, strict=True):
        table[stratum][side] += 1
    together = sum(size for size in sizes.values() if size > 1)
    counts = [sides.count(side) for side in range(len(targets))]
    return Split(chosen, counts, len(sizes), together, max(sizes.values(), default=0), overlap, table)


def _apart(rows: Rows, strata: list[str], shares: list[float], seed: int) -> tuple[list[int], list[int]]:
    """Group and side of each example, with nothing related on two sides.

    A search for near copies compares neighbours in the order of the file, so other orders may show others: what the
    sides share when they are laid one after the other is put into one group, and dealt again, until they share nothing.
    """
    pairs = related(rows)
    while True:
        groups = components(len(rows), pairs)
        sides = deal(groups, strata, shares, seed)
        order = np.argsort(sides, kind="stable")
        lefts, rights = (order[places] for places in related(rows[order]))
        across = np.array(sides, dtype=np.intp)[lefts] != np.array(sides, dtype=np.intp)[rights]
        if not across.any():
            return groups, sides
        pairs = np.concatenate([pairs[0], lefts[across]]), np.concatenate([pairs[1], rights[across]])


class _Facts(NamedTuple):
    """Of one example: what it may be put in a class by."""

    answer: str
    calls: tuple[str, ...]
    system: str


def _refuse_to_replace(path: Path, targets: list[Path], overwrite: bool) -> None:
    if len({one.resolve() for one in (path, *targets)}) <= len(targets):
        raise LuthierError(say("the file and those that it is split into must all be different files",
                               "原文件和拆分出的文件必须各不相同"))  # fmt: skip
    there = [str(one) for one in targets if one.exists()]
    if there and not overwrite:
        names = ", ".join(there)
        raise LuthierError(say(f"{names} would be replaced; add --force, or name another folder with --out",
                               f"{names} 会被覆盖；请加 --force，或用 --out 指定别的文件夹"))  # fmt: skip


def _read(path: Path, by: str, on_line: Callable[[int], None] | None = None) -> tuple[list[Any], Rows, list[_Facts]]:
    """The value of the key `by` in each example, if it is a key, and what each example is compared and classed by."""
    values: list[Any] = []
    parts: list[Rows] = []
    facts: list[_Facts] = []
    batch = Batch()

    def close(batch: Batch) -> Batch:
        parts.append(fingerprints(batch))
        systems = ("\n".join(prompts) for prompts in batch.systems)
        facts.extend(map(_Facts, batch.answered, batch.calls, systems))
        return Batch()

    for number, line in enumerate(read_lines(path), 1):
        value = parse_line(line)
        if by not in KINDS:
            values.append(_inside(value, by))
        batch.add(line.number, number, _laid_out(value))
        if len(batch) == _BATCH:
            batch = close(batch)
        if on_line:
            on_line(line.end_bytes)
    close(batch)
    return values, np.concatenate(parts), facts


def _laid_out(value: Any) -> dict[str, Any]:
    """The example; of one that is none, or is a preference, its JSON as a question, to be compared as a text."""
    if isinstance(value, dict) and kind_of(value) in ("chat", "completion"):
        codes = {finding.code for finding in check_example(value) if finding.severity == "error"}
        if codes.isdisjoint(_UNREADABLE):
            return value
    return {"prompt": json.dumps(value, ensure_ascii=False, sort_keys=True), "completion": ""}


def _inside(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _strata(facts: list[_Facts], values: list[Any], by: str) -> tuple[str, list[str]]:
    """What the examples are classed by in the end, and the class of each."""
    if by not in KINDS:
        if all(value is None for value in values):
            raise LuthierError(say(f'no example has the key "{by}"', f"没有样本含有 “{by}” 这个键"))
        return by, [shown(value) for value in values]
    ways: dict[str, Callable[[_Facts], str]] = {
        "label": lambda one: shown(one.answer),
        "function": lambda one: " + ".join(sorted(set(one.calls))) or "–",
        "system": lambda one: shown(one.system) or "–",
        "none": lambda one: "all",
    }
    chosen = by if by != "auto" else _best(facts)
    return chosen, [ways[chosen](one) for one in facts]


def _best(facts: list[_Facts]) -> str:
    """Functions if any are called, labels if the answers are few and short, else system prompts if there are a few."""
    if any(one.calls for one in facts):
        return "function"
    labels = {one.answer for one in facts}
    if 1 < len(labels) <= min(_FEW, len(facts) // 3) and all(len(label) <= _LABEL for label in labels):
        return "label"
    return "system" if 1 < len({one.system for one in facts}) <= min(_FEW, len(facts) // 3) else "none"


def _write(path: Path, targets: list[Path], sides: list[int]) -> int:
    """Copies each line to its side, under other names until all are whole and have been compared; the overlap."""
    new = [one.with_name(f".{one.name}.new") for one in targets]
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(one.open("wb")) for one in new]
            for line, side in zip(read_lines(path), sides, strict=True):
                files[side].write(line.raw + b"\n")
        overlap = len(set(_across(new)))
        for one, target in zip(new, targets, strict=True):
            one.replace(target)
    finally:
        for one in new:
            one.unlink(missing_ok=True)
    return overlap


def _across(paths: list[Path]) -> Iterator[int]:
    """The places of examples that are related to one in another of the files, read anew from the files."""
    parts = [_read(path, "none")[1] for path in paths]
    side = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    lefts, rights = related(np.concatenate(parts))
    yield from rights[side[lefts] != side[rights]].tolist()
