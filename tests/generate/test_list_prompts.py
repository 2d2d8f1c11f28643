"""Reading what a teacher sends when a list was asked for: JSON, numbered lines, and everything around them."""

import pytest

from luthier.generate.judge import parse_scores
from luthier.generate.list_parsing import complete_items, numbered_lines, read_json, strip_quotes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. 甲\n2. 乙", {1: "甲", 2: "乙"}),
        ("好的，以下是两个问题：\n\n1、甲\n2、乙\n希望对你有帮助！", {1: "甲", 2: "乙"}),
        ("Sure! Here they are:\n(1) one\n (2) two", {1: "one", 2: "two"}),
        ("【1】甲\n【2】乙", {1: "甲", 2: "乙"}),
        ("**1.** one\n- 2. two", {1: "one", 2: "two"}),
        ("1. one\n1. again", {1: "one"}),
        ("one\ntwo", {1: "one", 2: "two"}),
        ("Here:\none\n\ntwo\n", {1: "one", 2: "two"}),
        ("one\ntwo\nthree", {}),
        ("2027 年怎么理财？\n还有吗？", {1: "2027 年怎么理财？", 2: "还有吗？"}),
        ("", {}),
    ],
)
def test_lines_for_a_list_of_two(text: str, expected: dict[int, str]) -> None:
    assert numbered_lines(text, 2) == expected


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('"甲？"', "甲？"),
        ("“甲？”", "甲？"),
        ("**甲**", "甲"),
        ("《论语》讲什么？", "《论语》讲什么？"),
        ('say "no"', 'say "no"'),
    ],
)
def test_quotation_marks_around_a_text_go(text: str, inside: str) -> None:
    assert strip_quotes(text) == inside


@pytest.mark.parametrize("text", ['{"a": 1}', '```json\n{"a": 1}\n```', '  {"a": 1}\n'])
def test_json_with_or_without_a_fence(text: str) -> None:
    assert read_json(text) == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [
        "fine",
        "{}",
        '{"correct": 9, "helpful": 5, "format": 5}',
        '{"correct": "5", "helpful": 5, "format": 5}',
        '{"correct": 5, "helpful": 5}',
        "[5, 5, 5]",
    ],
)
def test_an_opinion_without_scores_is_none(text: str) -> None:
    assert parse_scores(text) is None


def test_an_opinion_with_words_around_it() -> None:
    scores = parse_scores('My verdict: {"correct": 5, "helpful": 4, "format": 3, "reason": "dry"} That is all.')
    assert scores is not None
    assert (scores.lowest, scores.reason) == (3, "dry")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"items": [{"number": 1, "text": "一"}, {"number": 2, "te', [{"number": 1, "text": "一"}]),
        ('```json\n{"items": [\n{"number": 1, "text": "a"},\n', [{"number": 1, "text": "a"}]),
        ('{"items": [{"number": 1, "text": "a', []),
        ('{"items"', []),
        ("1. What is a fee?", None),
    ],
)
def test_a_list_that_was_cut_off_gives_its_whole_entries(text: str, expected: list[object] | None) -> None:
    """Its fragment is never taken for a line of text."""
    assert complete_items(text) == expected
