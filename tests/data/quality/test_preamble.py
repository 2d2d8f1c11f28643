"""Preambles go, words that mean something stay."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.check.quality.preamble import strip_preamble

CASES = Path(__file__).parents[2] / "fixtures" / "preambles.jsonl"


@pytest.mark.parametrize("case", [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()])
def test_cases(case: dict[str, Any]) -> None:
    assert strip_preamble(case["text"]) == (case["stripped"] if case["preamble"] else None)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("Certainly! Bonds are loans.", "Bonds are loans."),
        ("As an AI assistant, I'd be happy to help! Bonds are loans.", "Bonds are loans."),
        ("Sure, bonds are loans.", "Bonds are loans."),
        ("OK:\nprint(1)", "print(1)"),
        ("好的！没问题！债券是借款。", "债券是借款。"),
        ("很高兴为您解答。债券是借款。", "债券是借款。"),
        ("当然可以，以下是步骤：\n1. 开户", "1. 开户"),
    ],
)
def test_more_preambles(text: str, rest: str) -> None:
    assert strip_preamble(text) == rest


@pytest.mark.parametrize(
    "text",
    [
        *("", "好的。", "Sure!", "是的，可以提前赎回。", "可以。根据规定需要三天。", "当然不能。", "Yes, you can."),
        *("Absolutely. You can.", "Of course, risk exists.", "Sure, some lose money, but most gain."),
        *("Sure.com is a site.", "Okay-ish results.", "Great companies win.", "收到货后付款。", "没问题，但要收费。"),
        *(
            "以下是步骤：\n1. 开户",
            "你好！请问有什么可以帮您？",
            "Hello! How can I help you?",
            "作为一名股东，您有表决权。",
        ),
    ],
)
def test_words_with_a_meaning_stay(text: str) -> None:
    assert strip_preamble(text) is None


def test_agreeing_is_the_answer_to_a_question_whether() -> None:
    assert strip_preamble("当然可以！提前赎回要收费。", "基金能提前赎回吗？") is None
    assert strip_preamble("当然可以！基金分四类。", "能给我介绍一下基金吗？") == "基金分四类。"
    assert strip_preamble("Certainly! It costs a fee.", "Can I redeem early?") is None
    assert strip_preamble("Certainly! It costs a fee.", "Can you explain redemption?") == "It costs a fee."
    assert strip_preamble("你好！今天天气不错。", "你好！") is None


@given(
    st.text() | st.sampled_from(["好的。", "Sure! ", "您好！", "以下是："]).flatmap(lambda s: st.text().map(s.__add__))
)
def test_what_is_left_ends_as_the_text_does(text: str) -> None:
    rest = strip_preamble(text)
    if rest is not None:
        assert text.strip().endswith(rest[1:])
        assert len(rest) < len(text)
