"""One checked file → a training file and a validation file.

Which side an example lands on hangs on the seed and its messages alone, so the split is the same on every machine and
equal conversations stay together: a model must not be validated on what it was trained on. Near copies are not known
here, only exact ones.
"""

import hashlib
from collections import Counter
from pathlib import Path

from luthier.data.read import Line, fingerprint, parse_line, read_lines
from luthier.types.errors import LuthierError


def split_file(
    path: Path, train_out: Path, valid_out: Path, *, fraction: float = 0.2, seed: int = 42
) -> tuple[int, int]:
    """Copy each line, unchanged and in order, to one of two new files; returns the examples in each.

    About `fraction` (0 to 1, both excluded) goes to validation, at least one example to each side if two of them
    differ. Raises `LuthierError` if the file cannot be read as JSON lines or an output would overwrite it.
    """
    if not 0 < fraction < 1:
        raise LuthierError(f"the validation fraction must lie between 0 and 1, got {fraction}")
    if len({path.resolve(), train_out.resolve(), valid_out.resolve()}) < 3:
        raise LuthierError("the file and the two files that it is split into must be three different files")
    groups = [_group(line) for line in read_lines(path)]
    held_out = _choose(Counter(groups), fraction, seed)
    with train_out.open("wb") as train, valid_out.open("wb") as valid:
        for line, group in zip(read_lines(path), groups, strict=True):
            (valid if group in held_out else train).write(line.raw + b"\n")
    held = sum(group in held_out for group in groups)
    return len(groups) - held, held


def _group(line: Line) -> bytes:
    """Equal for examples that must stay together: those with the same messages, whatever their definitions."""
    value = parse_line(line)
    return fingerprint(value.get("messages", value) if isinstance(value, dict) else value)


def _choose(sizes: Counter[bytes], fraction: float, seed: int) -> set[bytes]:
    """The groups to hold out, in the seed's order, as long as they fit; the smallest one if none fits."""
    order = sorted(sizes, key=lambda group: hashlib.blake2b(group, key=str(seed).encode()).digest())
    total = sizes.total()
    room = min(max(1, round(total * fraction)), total - 1)
    chosen: set[bytes] = set()
    for group in order:
        if sizes[group] <= room:
            chosen.add(group)
            room -= sizes[group]
    if not chosen and len(order) > 1:
        chosen = {min(order, key=lambda group: sizes[group])}
    return chosen
