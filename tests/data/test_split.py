"""A split is a partition, and nothing that is asked stands on two sides."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.remarks import REMARKS
from luthier.data.split.splitter import Output, Split, split_file
from luthier.data.split.stratified_groups import assign, connected_components
from luthier.types.errors import LuthierError
from property_examples import example_count


def line(number: int, answer: str = "x", **keys: object) -> bytes:
    messages = [{"role": "user", "content": str(number)}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages, **keys}).encode()


def split(folder: Path, content: bytes, *shares: float, **options: Any) -> tuple[list[list[bytes]], Split]:
    path, train = folder / "all.jsonl", folder / "train.jsonl"
    path.write_bytes(content)
    others = [Output(str(n), folder / f"{n}.jsonl", share) for n, share in enumerate(shares)]
    outcome = split_file(path, train, others, overwrite=True, **options)
    sides = [entry.read_bytes().splitlines(keepends=True) for entry in (train, *(entry.path for entry in others))]
    assert outcome.counts == [len(side) for side in sides]
    return sides, outcome


@given(
    numbers=st.lists(st.integers(0, 12), max_size=40),
    shares=st.lists(st.floats(0.01, 0.45), min_size=1, max_size=2),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=example_count(60))
def test_a_split_is_a_partition(numbers: list[int], shares: list[float], seed: int) -> None:
    # Copies of a conversation are told apart by their ids, so that order and completeness can be seen.
    lines = [line(number, id=index) + b"\n" for index, number in enumerate(numbers)]
    with tempfile.TemporaryDirectory() as folder:
        sides, outcome = split(Path(folder), b"".join(lines), *shares, seed=seed)
    assert sorted(entry for side in sides for entry in side) == sorted(lines)
    for side in sides:
        assert side == [entry for entry in lines if entry in side]
    conversations = [{json.dumps(json.loads(entry)["messages"]) for entry in side} for side in sides]
    assert sum(map(len, conversations)) == len(set().union(*conversations))
    assert outcome.overlap == 0
    if len(set(numbers)) > len(shares):
        assert all(sides)


def test_the_share_is_met_where_nothing_is_equal(tmp_path: Path) -> None:
    content = b"".join(line(number) + b"\n" for number in range(50))
    for shares, counts in {(0.2,): [40, 10], (0.001,): [49, 1], (0.999,): [1, 49], (0.2, 0.1): [35, 10, 5]}.items():
        assert split(tmp_path, content, *shares)[1].counts == counts


def test_the_seed_decides_and_repeats(tmp_path: Path) -> None:
    content = b"".join(line(number) + b"\n" for number in range(50))
    assert split(tmp_path, content, 0.2, seed=1) == split(tmp_path, content, 0.2, seed=1)
    assert split(tmp_path, content, 0.2, seed=1)[0] != split(tmp_path, content, 0.2, seed=2)[0]


def test_lines_are_copied_byte_for_byte(tmp_path: Path) -> None:
    odd = b'{ "messages":[{"content":"\xe2\x80\xa8\\u4e2d","role":"user"}] , "n":1.0}'
    content = b"\xef\xbb\xbf" + odd + b"\r\n\n" + line(2)
    train, valid = split(tmp_path, content, 0.5)[0]
    assert sorted(train + valid) == sorted([odd + b"\n", line(2) + b"\n"])


def test_every_stratum_is_on_every_side(tmp_path: Path) -> None:
    content = b"".join(line(n, "rare" if n % 10 == 0 else "common") + b"\n" for n in range(100))
    outcome = split(tmp_path, content, 0.2)[1]
    assert outcome.by == "label"
    assert outcome.strata == {"common": [72, 18], "rare": [8, 2]}


def test_near_copies_stay_together(tmp_path: Path) -> None:
    question = "How long does it take until number {} of my transfers is in the account?"
    lines = []
    for number in range(40):
        for text in (question, question.lower().replace("?", "")):
            messages = [{"role": "user", "content": text.format(number)}, {"role": "assistant", "content": "a day"}]
            lines.append(json.dumps({"messages": messages, "id": number}).encode() + b"\n")
    sides, outcome = split(tmp_path, b"".join(lines), 0.25)
    assert (outcome.groups, outcome.kept_together, outcome.overlap) == (40, 80, 0)
    ids = [{json.loads(entry)["id"] for entry in side} for side in sides]
    assert ids[0].isdisjoint(ids[1])


def test_a_key_of_the_examples_can_be_what_is_spread(tmp_path: Path) -> None:
    content = b"".join(line(n, metadata={"topic": "ab"[n % 2]}) + b"\n" for n in range(40))
    outcome = split(tmp_path, content, 0.25, by="metadata.topic")[1]
    assert outcome.strata == {"a": [15, 5], "b": [15, 5]}
    with pytest.raises(LuthierError, match="topic"):
        split(tmp_path, content, 0.25, by="topic")


def test_whatever_is_json_can_be_split(tmp_path: Path) -> None:
    values: list[Any] = [{"prompt": str(n), "completion": "x"} for n in range(10)]
    values += [
        1,
        None,
        [],
        {"messages": 3},
        {"messages": [3]},
        {"messages": [{"role": "assistant", "tool_calls": [1]}]},
    ]
    values += [{"input": {"messages": []}, "preferred_output": [n]} for n in range(4)]
    content = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    assert split(tmp_path, content, 0.2)[1].counts == [16, 4]


def test_what_cannot_be_split_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="line 2"):
        split(tmp_path, line(1) + b"\n{\n", 0.2)
    for shares in ((1.0,), (0.0,), (0.6, 0.5)):
        with pytest.raises(LuthierError, match="greater than 0"):
            split(tmp_path, line(1), *shares)
    path = tmp_path / "all.jsonl"
    before = path.read_bytes()
    with pytest.raises(LuthierError, match="different files"):
        split_file(path, path, [Output("validation", tmp_path / "valid.jsonl", 0.2)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_there_stay(tmp_path: Path) -> None:
    path, train = tmp_path / "all.jsonl", tmp_path / "train.jsonl"
    path.write_bytes(line(1))
    train.write_text("mine")
    with pytest.raises(LuthierError, match="--force"):
        split_file(path, train, [Output("validation", tmp_path / "valid.jsonl", 0.2)])
    assert train.read_text() == "mine"


def test_components_are_closed_over_pairs() -> None:
    import numpy as np

    pairs = np.array([3, 1]), np.array([4, 3])
    assert connected_components(6, pairs) == [0, 1, 2, 1, 1, 5]


@given(
    groups=st.lists(st.integers(0, 9), max_size=60),
    shares=st.sampled_from([[0.8, 0.2], [0.5, 0.5], [0.7, 0.2, 0.1]]),
    seed=st.integers(0, 99),
)
def test_dealing_tears_no_group_apart(groups: list[int], shares: list[float], seed: int) -> None:
    sides = assign(groups, ["x"] * len(groups), shares, seed)
    assert len(set(zip(groups, sides, strict=True))) == len(set(groups))


INSTRUCTIONS = [
    "Say whether the guest liked the room. Answer with one word, friendly or hostile, nothing else.\n\nGuest: {}",
    "{}\n\n以上是一位住客的留言，请判断他的态度，只回答“好”或“差”，不要解释。",
]


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_what_all_examples_share_does_not_bind_them(tmp_path: Path, instruction: str) -> None:
    values = [
        {"prompt": instruction.format(remark), "completion": "ab"[number < 50]} for number, remark in enumerate(REMARKS)
    ]
    report = split(tmp_path, b"".join(json.dumps(value).encode() + b"\n" for value in values), 0.2)[1]
    assert report.counts == [80, 20]
    assert report.strata == {"a": [40, 10], "b": [40, 10]}


@given(sizes=st.lists(st.integers(2, 30), min_size=2, max_size=12), share=st.sampled_from([0.05, 0.1, 0.2, 0.3]))
@settings(max_examples=example_count(60))
def test_every_stratum_of_two_groups_is_on_both_sides(sizes: list[int], share: float) -> None:
    strata = [str(stratum) for stratum, size in enumerate(sizes) for _ in range(size)]
    sides = assign(range(len(strata)), strata, [1 - share, share], seed=1)
    if len(sizes) <= share * len(strata):
        assert {stratum for stratum, side in zip(strata, sides, strict=True) if side} == set(strata)
    assert {stratum for stratum, side in zip(strata, sides, strict=True) if not side} == set(strata)


def classified(*classes: tuple[str, str, int], key: str = "") -> bytes:
    """Lines of (question, class, count); the class is the answer, or the value of `key`."""
    return b"".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": "ok" if key else name},
                ],
                **({key: name} if key else {}),
            }
        ).encode()
        + b"\n"
        for question, name, count in classes
        for _ in range(count)
    )


FILMS = ("great film", "positive", 12), ("awful boring thing", "negative", 12)
TOPICS = ("how much is it", "price", 2), ("where is my parcel", "delivery", 9), ("who are you", "smalltalk", 3)


@pytest.mark.parametrize("classes", [FILMS, TOPICS, tuple((f"say {n * n * 7}", f"it is {n}", 3) for n in range(20))])
@pytest.mark.parametrize(("key", "by"), [("", "auto"), ("", "label"), ("topic", "topic")])
def test_a_class_that_cannot_be_trained_is_an_error(
    tmp_path: Path, classes: tuple[tuple[str, str, int], ...], key: str, by: str
) -> None:
    content = classified(*classes, key=key)
    stratifier = "label" if by == "auto" else by
    with pytest.raises(LuthierError, match=rf"no example of these classes \(by {stratifier}\): .*--by none") as error:
        split(tmp_path, content, 0.2, by=by, allow_empty=False)
    assert any(name in str(error.value) for _, name, _ in classes)
    assert [path.name for path in tmp_path.iterdir()] == ["all.jsonl"]
    assert all(split(tmp_path, content, 0.2, by="none", allow_empty=False)[1].counts)


@given(
    single=st.lists(st.integers(2, 12), max_size=6),
    common=st.lists(st.integers(1, 3), min_size=12, max_size=40),
    shares=st.sampled_from([[0.8, 0.2], [0.5, 0.5], [0.7, 0.2, 0.1]]),
    seed=st.integers(0, 99),
)
@settings(max_examples=example_count(200))
def test_classes_of_one_group_are_trained_where_others_can_be_held_out(
    single: list[int], common: list[int], shares: list[float], seed: int
) -> None:
    strata = [f"class {number}" for number, size in enumerate(single) for _ in range(size)]
    groups = [number for number, size in enumerate(single) for _ in range(size)]
    for number, size in enumerate(common, len(single)):
        strata += ["common"] * size
        groups += [number] * size
    sides = assign(groups, strata, shares, seed)
    assert set(sides) == set(range(len(shares)))
    if sum(single) <= shares[0] * len(groups) / 2:
        assert {stratum for stratum, side in zip(strata, sides, strict=True) if not side} == set(strata)


def test_a_group_of_two_classes_is_trained_if_one_of_them_is_only_there() -> None:
    groups, strata = [number // 6 for number in range(120)], ["a"] * 120
    for number in range(8):
        groups += [20 + number] * 4
        strata += ["a", "a", f"class {number}", f"class {number}"]
    for seed in range(20):
        sides = assign(groups, strata, [0.8, 0.2], seed)
        assert {stratum for stratum, side in zip(strata, sides, strict=True) if not side} == set(strata)
        assert 15 <= sum(sides) <= 60


@pytest.mark.parametrize("content", [line(1) + b"\n", b"".join(line(1, str(n)) + b"\n" for n in range(12))])
def test_an_empty_side_is_an_error_where_it_is_not_allowed(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(LuthierError, match="nothing is left for"):
        split(tmp_path, content, 0.2, allow_empty=False)
    assert [path.name for path in tmp_path.iterdir()] == ["all.jsonl"]
