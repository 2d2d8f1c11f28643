"""Topics → examples with a teacher that misbehaves: what is kept, what is not, and that the report says so."""

from collections.abc import Callable

import pytest

from generate.teacher_server import Body, TeacherServer
from luthier.generate.plan import Plan, slots
from luthier.generate.run import Outcome, Ways
from luthier.generate.topics import Wish

Topics = Callable[..., Outcome]
SYSTEM = "你是金融助理。"


def wish(per_topic: int = 4, topics: tuple[str, ...] = ("股票投资", "银行理财"), **given: object) -> Wish:
    return Wish(Plan(topics, per_topic, 42, "zh"), SYSTEM, **given)


def is_answer(body: Body) -> bool:
    return body["messages"][0]["content"].startswith(SYSTEM)


def answers(outcome: Outcome) -> list[str]:
    return [example["messages"][-1]["content"] for example in outcome.examples]


def test_answers_are_replies_to_the_bare_question_as_served(server: TeacherServer, topics: Topics) -> None:
    outcome = topics(wish())
    asked = [body["messages"] for body in server.asked if is_answer(body)]
    system = {"role": "system", "content": SYSTEM}
    for example in outcome.examples:
        *prompt, reply = example["messages"]
        assert prompt in asked
        assert prompt[0] == system
        assert reply["role"] == "assistant"
    assert len(asked) == len(outcome.examples) == 8
    assert outcome.report["by_topic"] == {topic: {"wanted": 4, "made": 4} for topic in ("股票投资", "银行理财")}


def test_later_questions_are_shown_the_earlier_ones_of_their_topic(server: TeacherServer, topics: Topics) -> None:
    outcome = topics(wish(batch=2))
    questions = [example["messages"][1]["content"] for example in outcome.examples]
    sent = [body["messages"][-1]["content"] for body in server.asked]
    wishes = [text for text in sent if "请按下面" in text]
    assert len(wishes) == 4
    second = next(text for text in wishes if "股票投资" in text and "不要重复" in text)
    assert all(f"- {question}" in second for question in questions[:2])
    assert not any(question in second for question in questions[2:])


def test_preambles_are_measured_and_taken_off(server: TeacherServer, topics: Topics) -> None:
    server.prefix = "好的，"
    outcome = topics(wish())
    report = outcome.report["answers"]
    assert (report["preamble_rate_before"], report["preamble_rate_after"]) == (1.0, 0.0)
    assert not [text for text in answers(outcome) if text.startswith("好的")]


def test_what_was_cut_off_is_never_kept(server: TeacherServer, topics: Topics) -> None:
    server.fault(is_answer, times=3, text="市盈率是股价除以", finish_reason="length")
    outcome = topics(wish())
    assert outcome.report["made"] == 8
    assert outcome.report["answers"]["rejected"] == {"truncated": 3}
    assert "市盈率是股价除以" not in answers(outcome)
    assert [line["reason"] for line in outcome.rejects] == ["truncated"] * 3
    assert outcome.report["answers"]["second_tries"] >= 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("抱歉，我无法回答这个问题。", "refusal"),
        ("As an example, the yield of a bond is the interest that it pays each year.", "language"),
        ("", "empty"),
        ("分散投资可以降低风险。" * 9, "loop"),
        ("我是由某某公司开发的语言模型，市盈率是股价除以每股收益。", "identity"),
    ],
)
def test_bad_answers_are_rejected_with_a_reason(server: TeacherServer, topics: Topics, text: str, reason: str) -> None:
    server.fault(is_answer, times=1, text=text)
    outcome = topics(wish())
    assert outcome.report["answers"]["rejected"] == {reason: 1}
    assert text not in answers(outcome)
    assert outcome.report["made"] == 8


def test_a_teacher_that_repeats_itself_makes_less_and_says_so(server: TeacherServer, topics: Topics) -> None:
    server.fault("请按下面", times=99, text='{"items": [{"number": 1, "text": "股票型基金的费用怎么计算？"}]}')
    outcome = topics(wish(topics=("股票投资", "基金费用")))
    assert outcome.report["made"] == 1, "the two topics share a question, and it is kept once"
    assert outcome.report["questions"]["rejected"]["duplicate"] >= 3
    assert outcome.report["questions"]["rejected"]["missing"] > 0


def test_bad_json_and_wrong_schema_are_counted_and_asked_again(server: TeacherServer, topics: Topics) -> None:
    server.fault("请按下面", text="{这不是 JSON")
    server.fault("请按下面", text='{"questions": ["怎么选股票？"]}')
    outcome = topics(wish())
    assert outcome.report["made"] == 8
    assert outcome.report["lists"]["bad_json"] == 2


@pytest.mark.parametrize("structured", [False, None])
def test_without_structured_output_numbered_lines_are_asked_for_and_that_is_said(
    server: TeacherServer, topics: Topics, told: list[str], structured: bool | None
) -> None:
    server.structured = structured
    outcome = topics(wish())
    assert outcome.report["made"] == 8
    assert outcome.report["lists"]["structured"] is False
    assert "numbered lines" in told[0]
    assert not any("以下是问题" in example["messages"][1]["content"] for example in outcome.examples)
    assert sum("response_format" in body for body in server.asked) == 1, "probed once"


def test_the_judge_decides_and_is_heard(server: TeacherServer, topics: Topics) -> None:
    def judging(body: Body) -> bool:
        return body["model"] == "j" and "capital" not in str(body)

    server.fault(judging, text='{"correct": 2, "helpful": 5, "format": 5, "reason": "数字不对"}')
    server.fault(judging, text="很好")
    outcome = topics(wish(), Ways("t", judge="j"))
    assert outcome.report["made"] == 8
    assert outcome.report["answers"]["rejected"] == {"judge": 1, "judge_unreadable": 1}
    low = next(line for line in outcome.rejects if line["reason"] == "judge")
    assert (low["scores"]["correct"], low["judge_said"]) == (2, "数字不对")
    assert outcome.report["judge"]["judged"] == 9
    assert {body["model"] for body in server.asked} == {"t", "j"}


def test_a_stopped_run_keeps_what_it_made(server: TeacherServer, topics: Topics) -> None:
    server.fault(lambda body: is_answer(body) and server.paid > 8, times=99, status=401)
    outcome = topics(wish())
    assert 0 < outcome.report["made"] < 8
    assert outcome.report["made"] == len(outcome.examples)
    assert "cannot be asked" in outcome.report["stopped"]


def test_a_plan_is_seeded_balanced_and_begins_with_the_smaller_one() -> None:
    def plan(count: int, seed: int = 1):
        return slots(Plan(("a", "b"), count, seed, "en"), {"a": ["x", "y"]})

    large = plan(16)
    assert plan(5)["a"] == large["a"][:5]
    assert plan(16) == large != plan(16, seed=2)
    assert sorted(slot.sub_topic for slot in large["a"]) == ["x"] * 8 + ["y"] * 8
    assert {sum(slot.task == task for slot in large["b"]) for task in {slot.task for slot in large["b"]}} == {2}
    assert {slot.sub_topic for slot in large["b"]} == {"b"}
