"""A split is a partition, and no conversation stands on both sides."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.split import split_file
from luthier.types.errors import LuthierError


def line(number: int, **keys: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": str(number)}], **keys}).encode()


def split(folder: Path, content: bytes, fraction: float = 0.2, seed: int = 42) -> tuple[list[bytes], list[bytes]]:
    path, train, valid = folder / "all.jsonl", folder / "train.jsonl", folder / "valid.jsonl"
    path.write_bytes(content)
    counts = split_file(path, train, valid, fraction=fraction, seed=seed)
    sides = train.read_bytes().splitlines(keepends=True), valid.read_bytes().splitlines(keepends=True)
    assert counts == (len(sides[0]), len(sides[1]))
    return sides


@given(
    numbers=st.lists(st.integers(0, 12), max_size=40),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=60, deadline=None)
def test_a_split_is_a_partition(numbers: list[int], fraction: float, seed: int) -> None:
    # Copies of a conversation are told apart by their ids, so that order and completeness can be seen.
    lines = [line(number, id=index) + b"\n" for index, number in enumerate(numbers)]
    with tempfile.TemporaryDirectory() as folder:
        train, valid = split(Path(folder), b"".join(lines), fraction, seed)
    assert sorted(train + valid) == sorted(lines)
    for side in (train, valid):
        assert side == [one for one in lines if one in side]
    conversations = [{json.dumps(json.loads(one)["messages"]) for one in side} for side in (train, valid)]
    assert conversations[0].isdisjoint(conversations[1])
    if len(set(numbers)) > 1:
        assert train
        assert valid


def test_the_fraction_is_met_where_nothing_is_equal(tmp_path: Path) -> None:
    content = b"".join(line(number) + b"\n" for number in range(50))
    assert [len(side) for side in split(tmp_path, content)] == [40, 10]
    assert [len(side) for side in split(tmp_path, content, 0.001)] == [49, 1]
    assert [len(side) for side in split(tmp_path, content, 0.999)] == [1, 49]


def test_the_seed_decides_and_repeats(tmp_path: Path) -> None:
    content = b"".join(line(number) + b"\n" for number in range(50))
    assert split(tmp_path, content, seed=1) == split(tmp_path, content, seed=1)
    assert split(tmp_path, content, seed=1) != split(tmp_path, content, seed=2)


def test_lines_are_copied_byte_for_byte(tmp_path: Path) -> None:
    odd = b'{ "messages":[{"content":"\xe2\x80\xa8\\u4e2d","role":"user"}] , "n":1.0}'
    content = b"\xef\xbb\xbf" + odd + b"\r\n\n" + line(2)
    train, valid = split(tmp_path, content, 0.5)
    assert sorted(train + valid) == sorted([odd + b"\n", line(2) + b"\n"])


def test_pairs_are_split_too(tmp_path: Path) -> None:
    content = b"".join(json.dumps({"prompt": str(n), "completion": "x"}).encode() + b"\n" for n in range(10))
    assert [len(side) for side in split(tmp_path, content)] == [8, 2]


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="line 2"):
        split(tmp_path, line(1) + b"\n{\n")
    with pytest.raises(LuthierError, match="between 0 and 1"):
        split(tmp_path, line(1), 1.0)
    path = tmp_path / "all.jsonl"
    before = path.read_bytes()
    with pytest.raises(LuthierError, match="three different files"):
        split_file(path, path, tmp_path / "valid.jsonl")
    assert path.read_bytes() == before
