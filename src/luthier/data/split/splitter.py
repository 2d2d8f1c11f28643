"""Splits a file of examples into a training file, a validation file and perhaps a test file, without leakage.

The result depends only on the seed and the file. Examples with the same question, and near duplicates, stay together: a
model must not be validated on what it was trained on. The outputs have the same distribution of labels, called
functions or system prompts. Lines are copied unchanged.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from luthier.data.check.quality.batch import Batch
from luthier.data.check.quality.batches import Batches
from luthier.data.check.quality.near_duplicates import Rows, fingerprints, related
from luthier.data.check.quality.shared_text import SharedText
from luthier.data.check.structure import check_example
from luthier.data.examples.example import kind_of
from luthier.data.examples.preferences import to_preference
from luthier.data.findings import printable
from luthier.data.jsonl.columnar_parser import ChatColumns, parse_columns
from luthier.data.jsonl.fast_validator import find_runs
from luthier.data.jsonl.reader import Block, Line, parse_line, read_blocks, read_lines, split_lines
from luthier.data.split.stratified_groups import MAX_CLASSES, assign, connected_components, groups_of_classes
from luthier.language import say
from luthier.types.errors import LuthierError

STRATIFIERS = ("auto", "label", "function", "system", "none")
_MAX_LABEL_LENGTH = 40  # characters
_SHOWN_CLASSES = 5
_ANSWER_CHARACTERS = 100  # of an answer that are kept: more than a label has, and more than are printed
_CHINESE_NAMES = {"train": "训练文件", "validation": "验证文件", "test": "测试文件"}

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
    """One output: its name for people, its file, and its share of the examples."""

    name: str
    path: Path
    share: float


@dataclass(frozen=True)
class Split:
    """The result of a split. `counts` and the values of `strata` are in the order of the outputs, the training file
    first.

    `by`: the stratifier that was used. `groups`: the number of groups of related examples; `kept_together`: the number
    of examples in groups of more than one; `overlap`: the number of examples in a later file that are related to one in
    an earlier file, counted in the written files.
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
    allow_empty: bool = True,
    on_progress: Callable[[int], None] | None = None,
) -> Split:
    """Writes the training file `train` and the `others`, all of them or none.

    `by`: one of `STRATIFIERS`, or a key of the examples (a dot descends into objects). Raises `LuthierError` if the
    file is not JSONL or has no such key, if an output would replace a file (without `overwrite`), or (without
    `allow_empty`) if an output would have no example or the training file no example of some class.
    """
    shares = [1 - sum(output.share for output in others), *(output.share for output in others)]
    if not all(0 < share < 1 for share in shares):
        raise LuthierError(say("the shares must be greater than 0 and leave examples to train on",
                               "各部分的比例必须大于 0，并给训练留下样本"))  # fmt: skip
    targets = [train, *(output.path for output in others)]
    _check_targets(path, targets, overwrite)
    columns = _read(path, by, on_progress)
    stratifier, strata = _stratify(columns, by)
    groups, sides = _assign_sides(columns.rows, strata, shares, seed)
    if not allow_empty:
        _check_sides(sides, len(set(groups)), ["train", *(output.name for output in others)])
        _check_classes(stratifier, groups, strata, sides)
    overlap = _write(path, targets, sides, columns.shared)
    sizes = Counter(groups).values()
    return Split(
        stratifier,
        counts=[sides.count(side) for side in range(len(targets))],
        groups=len(sizes),
        kept_together=sum(size for size in sizes if size > 1),
        largest_group=max(sizes, default=0),
        overlap=overlap,
        strata=_cross_table(strata, sides, len(targets)),
    )


def _cross_table(strata: list[str], sides: list[int], side_count: int) -> dict[str, list[int]]:
    """For each stratum, the number of its examples on each side."""
    table = {name: [0] * side_count for name in sorted(set(strata))}
    for stratum, side in zip(strata, sides, strict=True):
        table[stratum][side] += 1
    return table


def _check_sides(sides: list[int], group_count: int, names: list[str]) -> None:
    empty = [name for side, name in enumerate(names) if side not in sides]
    if not empty:
        return
    count, listed = len(sides), ", ".join(empty)
    listed_zh = "、".join(_CHINESE_NAMES.get(name, name) for name in empty)
    if group_count == count:
        raise LuthierError(say(f"there are too few examples to split ({count}): nothing is left for {listed}",
                               f"样本太少（{count} 个），无法拆分：{listed_zh}没有样本"))  # fmt: skip
    raise LuthierError(
        say(
            f"the {count} examples ask the same or nearly the same questions (groups: {group_count}), and a group must "
            f"stay in one file: nothing is left for {listed}; add examples with other questions",
            f"{count} 个样本的问题相同或几乎相同（共 {group_count} 组），每组只能在一个文件里：{listed_zh}没有样本；"
            "请补充别的问题",
        )
    )


def _check_classes(stratifier: str, groups: list[int], strata: list[str], sides: list[int]) -> None:
    """Raises LuthierError if the training file has no example of a class because all of them form one group."""
    trained = {stratum for stratum, side in zip(strata, sides, strict=True) if side == 0}
    single = [name for name, class_groups in groups_of_classes(groups, strata).items() if len(class_groups) == 1]
    absent = [name for name in single if name not in trained]
    listed, listed_zh = (mark.join(absent[:_SHOWN_CLASSES]) for mark in (", ", "、"))
    more = " …" if len(absent) > _SHOWN_CLASSES else ""
    if absent:
        raise LuthierError(
            say(
                f"the training file would have no example of these classes (by {stratifier}): "
                f"{listed}{more}; the examples of each ask the same or nearly the same "
                "question, and such a group must stay in one file; add examples with other questions, or split without "
                "regard to classes (luthier split --by none)",
                f"训练文件会完全没有这些类别（按 {stratifier} 划分）的样本：{listed_zh}{more}；"
                "其中每一类的问题都相同或几乎相同，只能放在同一个文件里；请补充别的问题，"
                "或不按类别拆分（luthier split --by none）",
            )
        )


def _check_targets(path: Path, targets: list[Path], overwrite: bool) -> None:
    if len({file.resolve() for file in (path, *targets)}) <= len(targets):
        raise LuthierError(say("the input file and the output files must all be different files",
                               "原文件和拆分出的文件必须各不相同"))  # fmt: skip
    existing = [str(target) for target in targets if target.exists()]
    if existing and not overwrite:
        names = ", ".join(existing)
        raise LuthierError(say(f"{names} would be overwritten; add --force, or choose another folder with --out",
                               f"{names} 会被覆盖；请加 --force，或用 --out 指定别的文件夹"))  # fmt: skip


class _Features(NamedTuple):
    """The values by which an example can be stratified. `answer`: the first `_ANSWER_CHARACTERS` of its answer."""

    answer: str
    calls: tuple[str, ...]
    system_prompt: str


class _Columns(NamedTuple):
    """For each example, its value of the key `by` (if that is a key), its fingerprints and its features.

    `shared`: the text that many examples share, which is not compared.
    """

    values: list[Any]
    rows: Rows
    features: list[_Features]
    shared: SharedText


def _read(
    path: Path, by: str, on_progress: Callable[[int], None] | None = None, shared: SharedText | None = None
) -> _Columns:
    reader = _Reader(by, shared)
    for block in read_blocks(path):
        for run in find_runs(block.lines):
            lines = block.lines[run.start : run.end]
            if run.is_valid and by in STRATIFIERS:
                reader.add_chats(parse_columns(bytes(lines)))
                continue
            for raw in split_lines(lines):
                reader.add_line(raw.removesuffix(b"\r"), block)
        if on_progress:
            on_progress(block.end_bytes)
    return reader.columns()


class _Reader:
    """Collects the columns of one file, line by line or many lines at once."""

    def __init__(self, by: str, shared: SharedText | None) -> None:
        self._by, self._shared = by, shared
        self._batches = Batches()
        self._line_number = self._examples = 0
        self._values: list[Any] = []
        self._parts: list[Rows] = []
        self._features: list[_Features] = []
        self._prompts: dict[str, str] = {}  # keeps one copy of each prompt, however many examples have it

    def add_chats(self, chats: ChatColumns) -> None:
        for batch in self._batches.extend(self._line_number + 1, self._examples + 1, chats):
            self._add_batch(batch)
        self._line_number += len(chats)
        self._examples += len(chats)

    def add_line(self, raw: bytes, block: Block) -> None:
        """Adds a line of the block, perhaps a blank one. Raises FindingError."""
        self._line_number += 1
        if not raw or raw.isspace():
            return
        self._examples += 1
        value = parse_line(Line(self._line_number, raw, block.end_bytes, block.is_truncated))
        if self._by not in STRATIFIERS:
            self._values.append(_value_at(value, self._by))
        for batch in self._batches.add(self._line_number, self._examples, _comparable(value)):
            self._add_batch(batch)

    def columns(self) -> _Columns:
        self._add_batch(self._batches.flush())
        return _Columns(self._values, np.concatenate(self._parts), self._features, self._shared or SharedText())

    def _add_batch(self, batch: Batch) -> None:
        if self._shared is None:
            self._shared = SharedText(batch.user_texts)
        self._parts.append(fingerprints(batch, self._shared))
        answers = (answer[:_ANSWER_CHARACTERS] for answer in batch.last_answers)
        joined = ("\n".join(texts) for texts in batch.system_prompts)
        prompts = (self._prompts.setdefault(prompt, prompt) for prompt in joined)
        self._features.extend(map(_Features, answers, batch.called_functions, prompts))


def _comparable(value: Any) -> dict[str, Any]:
    """The example, or a preference pair with its preferred answer. An invalid example is compared by its JSON, as if
    that were its question.
    """
    if isinstance(value, dict) and (kind := kind_of(value)):
        codes = {finding.code for finding in check_example(value) if finding.severity == "error"}
        if kind != "preference" and codes.isdisjoint(_UNREADABLE):
            return value
        if kind == "preference" and not codes:
            preferred = to_preference(value, 0).preferred
            return {"messages": preferred.messages, "tools": preferred.tools}
    return {"prompt": json.dumps(value, ensure_ascii=False, sort_keys=True), "completion": ""}


def _value_at(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _stratify(columns: _Columns, by: str) -> tuple[str, list[str]]:
    """(the stratifier that `by` resolves to, the stratum of each example)."""
    if by not in STRATIFIERS:
        if all(value is None for value in columns.values):
            raise LuthierError(say(f'no example has the key "{by}"', f"没有样本含有 “{by}” 这个键"))
        return by, [printable(value) for value in columns.values]
    strata: dict[str, Callable[[_Features], str]] = {
        "label": lambda features: printable(features.answer),
        "function": lambda features: " + ".join(sorted(set(features.calls))) or "–",
        "system": lambda features: printable(features.system_prompt) or "–",
        "none": lambda features: "all",
    }
    stratifier = by if by != "auto" else _best_stratifier(columns.features)
    return stratifier, [strata[stratifier](features) for features in columns.features]


def _best_stratifier(features: list[_Features]) -> str:
    """The stratifier for "auto": functions if any are called, labels if the answers are few and short, else system
    prompts if there are few.
    """
    if any(example.calls for example in features):
        return "function"
    most = min(MAX_CLASSES, len(features) // 3)
    labels = {example.answer for example in features}
    if 1 < len(labels) <= most and all(len(label) <= _MAX_LABEL_LENGTH for label in labels):
        return "label"
    return "system" if 1 < len({example.system_prompt for example in features}) <= most else "none"


def _assign_sides(rows: Rows, strata: list[str], shares: list[float], seed: int) -> tuple[list[int], list[int]]:
    """(group, side) of each example, with no related examples on two sides.

    The search for near duplicates compares neighbours in file order, so another order may find others. It is therefore
    repeated in the order of the sides; pairs across two sides are merged into groups, and the sides assigned again,
    until there are none.
    """
    pairs = related(rows)
    while True:
        groups = connected_components(len(rows), pairs)
        sides = assign(groups, strata, shares, seed)
        order = np.argsort(sides, kind="stable")
        lefts, rights = (order[indices] for indices in related(rows[order]))
        across = np.array(sides, dtype=np.intp)[lefts] != np.array(sides, dtype=np.intp)[rights]
        if not across.any():
            return groups, sides
        pairs = np.concatenate([pairs[0], lefts[across]]), np.concatenate([pairs[1], rights[across]])


def _write(path: Path, targets: list[Path], sides: list[int], shared: SharedText) -> int:
    """Copies each line to the file of its side, under temporary names until all are complete and compared.

    Returns the number of examples that are related to one in an earlier file.
    """
    temporary = [target.with_name(f".{target.name}.new") for target in targets]
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(file.open("wb")) for file in temporary]
            for line, side in zip(read_lines(path), sides, strict=True):
                files[side].write(line.raw + b"\n")
        overlap = len(set(_related_across(temporary, shared)))
        for file, target in zip(temporary, targets, strict=True):
            file.replace(target)
    finally:
        for file in temporary:
            file.unlink(missing_ok=True)
    return overlap


def _related_across(paths: list[Path], shared: SharedText) -> Iterator[int]:
    """Indices of the examples that are related to one in an earlier file. The files are read again."""
    parts = [_read(path, "none", shared=shared).rows for path in paths]
    side = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    lefts, rights = related(np.concatenate(parts))
    yield from rights[side[lefts] != side[rights]].tolist()
