"""What of a teacher's words is kept, and why the rest is not."""

import pytest

from luthier.generate.filters import screen_answer, screen_question
from luthier.generate.journal import TeacherReply

QUESTION = "基金定投适合什么样的人？"
GOOD = "基金定投适合有稳定收入、又没有时间看盘的人。"


def answered(text: str, finish_reason: str = "stop", refusal: str | None = None) -> TeacherReply:
    return TeacherReply(text, finish_reason, 10, 10, refusal)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "好的基金经理会控制回撤，定投时可以优先考虑。",
        "可以。根据规定，投资者可以随时暂停定投。",
        "1. 有稳定收入的人。\n2. 没有时间看盘的人。",
    ],
)
def test_good_answers_are_not_touched(text: str) -> None:
    screened = screen_answer(answered(text), QUESTION)
    assert (screened.text, screened.reason, screened.preamble) == (text, None, False)


@pytest.mark.parametrize("opening", ["好的，", "当然可以！", "好的，以下是回答：\n\n", "<think>想一想</think>好的，"])
def test_preambles_come_off_and_are_counted(opening: str) -> None:
    screened = screen_answer(answered(opening + GOOD), QUESTION)
    assert (screened.text, screened.reason, screened.preamble) == (GOOD, None, True)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answered(GOOD, "length"), "truncated"),
        (answered(GOOD, "content_filter"), "content_filter"),
        (answered("", refusal="I can't help with that."), "refusal"),
        (answered("抱歉，我无法提供投资建议。"), "refusal"),
        (answered("  \n"), "empty"),
        (answered("我是通义千问，基金定投适合有稳定收入的人。"), "identity"),
        (answered("基金定投是一种长期投资方式。它适合有稳定收入的人群，因为定期投入可以摊平成本，并且"), "cut_off"),
        (answered("定投可以摊平成本。" * 8), "loop"),
        (answered("Regular investing suits people who have a stable income and no time to watch."), "language"),
        (answered("<think>还没想完"), "thinking"),
    ],
)
def test_bad_answers_have_a_reason(reply: TeacherReply, reason: str) -> None:
    assert screen_answer(reply, QUESTION).reason == reason


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("ETF 和 LOF 有什么区别？", "zh", None),
        ("What is 定投?", "en", None),
        ("Which fund should I choose for my retirement plan?", "zh", "language"),
        ("基金怎么选？", "en", "language"),
        ("方面：费用；类型：比较；提问者：学生，入门", "zh", "echo"),
        ("part: fees; kind: advice; asker: a student, beginner", "en", "echo"),
        ("这只基金怎么样？" + "费用多少，风险多大，适合谁，什么时候买比较合适呢" * 30, "zh", "loop"),
        ("".join(chr(0x4E00 + n) for n in range(700)), "zh", "too_long"),
    ],
)
def test_questions(text: str, language: str, reason: str | None) -> None:
    assert screen_question(text, language).reason == reason


def test_a_question_loses_its_introduction() -> None:
    screened = screen_question("好的，这里有一个关于股票投资的问题：\n\n如何评估一只股票的内在价值？", "zh")
    assert (screened.text, screened.preamble) == ("如何评估一只股票的内在价值？", True)
