"""Topics → examples with a teacher that misbehaves: what is kept, what is not, and that the report says so."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from generate.teacher_server import Body, TeacherServer
from luthier.generate.budget import Price
from luthier.generate.errors import CostCapError, OptionsError
from luthier.generate.journal import Journal
from luthier.generate.plan import Plan, plan_slots
from luthier.generate.run import GenerationResult, TeacherOptions
from luthier.generate.topics import TopicSpec

pytestmark = pytest.mark.services

Topics = Callable[..., GenerationResult]
SYSTEM = "你是金融助理。"


def spec(per_topic: int = 4, topics: tuple[str, ...] = ("股票投资", "银行理财"), **options: object) -> TopicSpec:
    return TopicSpec(Plan(topics, per_topic, 42, "zh"), SYSTEM, **options)


def is_answer(body: Body) -> bool:
    return body["messages"][0]["content"].startswith(SYSTEM)


def answers(outcome: GenerationResult) -> list[str]:
    return [example["messages"][-1]["content"] for example in outcome.examples]


def test_answers_are_replies_to_the_bare_question_as_served(server: TeacherServer, topics: Topics) -> None:
    outcome = topics(spec())
    prompts = [body["messages"] for body in server.requests if is_answer(body)]
    system = {"role": "system", "content": SYSTEM}
    for example in outcome.examples:
        *prompt, reply = example["messages"]
        assert prompt in prompts
        assert prompt[0] == system
        assert reply["role"] == "assistant"
    assert len(prompts) == len(outcome.examples) == 8
    assert outcome.report["by_topic"] == {topic: {"wanted": 4, "made": 4} for topic in ("股票投资", "银行理财")}


def test_later_questions_are_shown_the_earlier_ones_of_their_topic(server: TeacherServer, topics: Topics) -> None:
    outcome = topics(spec(batch=2))
    questions = [example["messages"][1]["content"] for example in outcome.examples]
    sent = [body["messages"][-1]["content"] for body in server.requests]
    wishes = [text for text in sent if "请按下面" in text]
    assert len(wishes) == 4
    second = next(text for text in wishes if "股票投资" in text and "不要重复" in text)
    assert all(f"- {question}" in second for question in questions[:2])
    assert not any(question in second for question in questions[2:])


def test_preambles_are_measured_and_taken_off(server: TeacherServer, topics: Topics) -> None:
    server.prefix = "好的，"
    outcome = topics(spec())
    report = outcome.report["answers"]
    assert (report["preamble_rate_before"], report["preamble_rate_after"]) == (1.0, 0.0)
    assert not [text for text in answers(outcome) if text.startswith("好的")]


def test_what_was_cut_off_is_never_kept(server: TeacherServer, topics: Topics) -> None:
    server.fault(is_answer, times=3, text="市盈率是股价除以", finish_reason="length")
    outcome = topics(spec())
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
    outcome = topics(spec())
    assert outcome.report["answers"]["rejected"] == {reason: 1}
    assert text not in answers(outcome)
    assert outcome.report["made"] == 8


def test_a_teacher_that_repeats_itself_makes_less_and_says_so(server: TeacherServer, topics: Topics) -> None:
    server.fault("请按下面", times=99, text='{"items": [{"number": 1, "text": "股票型基金的费用怎么计算？"}]}')
    outcome = topics(spec(topics=("股票投资", "基金费用")))
    assert outcome.report["made"] == 1, "the two topics share a question, and it is kept once"
    assert outcome.report["questions"]["rejected"]["duplicate"] >= 3
    assert outcome.report["questions"]["rejected"]["missing"] > 0


def test_bad_json_and_wrong_schema_are_counted_and_asked_again(server: TeacherServer, topics: Topics) -> None:
    server.fault("请按下面", text="{这不是 JSON")
    server.fault("请按下面", text='{"questions": ["怎么选股票？"]}')
    outcome = topics(spec())
    assert outcome.report["made"] == 8
    assert outcome.report["lists"]["bad_json"] == 2


@pytest.mark.parametrize("structured", [False, None])
def test_without_structured_output_numbered_lines_are_asked_for_and_that_is_said(
    server: TeacherServer, topics: Topics, notifications: list[str], structured: bool | None
) -> None:
    server.structured = structured
    outcome = topics(spec())
    assert outcome.report["made"] == 8
    assert outcome.report["lists"]["structured"] is False
    assert "numbered lines" in notifications[0]
    assert not any("以下是问题" in example["messages"][1]["content"] for example in outcome.examples)
    assert sum("response_format" in body for body in server.requests) == 1, "probed once"


def test_the_judge_decides_and_is_heard(server: TeacherServer, topics: Topics) -> None:
    def judging(body: Body) -> bool:
        return body["model"] == "j" and "capital" not in str(body)

    server.fault(judging, text='{"correct": 2, "helpful": 5, "format": 5, "reason": "数字不对"}')
    server.fault(judging, text="很好")
    outcome = topics(spec(), TeacherOptions("t", judge="j"))
    assert outcome.report["made"] == 8
    assert outcome.report["answers"]["rejected"] == {"judge": 1, "judge_unreadable": 1}
    low = next(line for line in outcome.rejects if line["reason"] == "judge")
    assert (low["scores"]["correct"], low["judge_said"]) == (2, "数字不对")
    assert outcome.report["judge"]["judged"] == 9
    assert {body["model"] for body in server.requests} == {"t", "j"}


def test_a_stopped_run_keeps_what_it_made(server: TeacherServer, topics: Topics) -> None:
    server.fault(lambda body: is_answer(body) and server.paid > 8, times=99, status=401)
    outcome = topics(spec())
    assert 0 < outcome.report["made"] < 8
    assert outcome.report["made"] == len(outcome.examples)
    assert "cannot be used" in outcome.report["stopped"]


@pytest.mark.parametrize(
    "planning", ["主题：股票投资\n写出", "主题：股票投资\n请按下面"], ids=["sub-topics", "questions"]
)
def test_what_was_given_up_stays_so_and_nothing_is_paid_twice(
    server: TeacherServer, topics: Topics, planning: str
) -> None:
    server.fault(planning, times=6, status=500)
    outcome = topics(spec(batch=2))
    paid = server.paid
    assert outcome.report["made"] == 8
    assert outcome.report["requests"]["given_up"] == 1
    again = topics(spec(batch=2))
    assert again.examples == outcome.examples
    assert server.paid == paid


def test_what_was_given_up_before_a_stop_is_asked_again(server: TeacherServer, topics: Topics) -> None:
    server.fault(lambda body: "capital" not in str(body), times=10, status=500)
    assert "failures in a row" in topics(spec(topics=("股票投资",))).report["stopped"]
    again = topics(spec(topics=("股票投资",)))
    assert again.report["made"] == 4
    assert again.report["tokens_by_kind"]["t"]["sub-topics"]["requests"] == 1


def test_another_teacher_does_not_forget_what_was_spent(server: TeacherServer, topics: Topics) -> None:
    prices = {"t": Price(1, 2), "u": Price(1, 2)}
    first = topics(spec(), TeacherOptions("t", prices=prices)).report["usd"]["spent_in_all_runs"]
    assert first > 0
    paid = server.paid
    with pytest.raises(CostCapError, match="is reached"):
        topics(spec(), TeacherOptions("u", prices={"u": Price(1, 2)}, cost_cap=first))
    assert server.paid == paid
    both = topics(spec(), TeacherOptions("u", prices={"u": Price(1, 2)})).report["usd"]
    assert both["spent_in_all_runs"] == pytest.approx(2 * first), "the same words from another model"


def test_an_older_journal_is_counted_at_published_prices(
    server: TeacherServer, topics: Topics, journal: Journal
) -> None:
    topics(spec(), TeacherOptions("gpt-4o"))
    tokens = sum(entry.prompt_tokens * 2.5 + entry.completion_tokens * 10 for entry in journal.records())
    usd = topics(spec(), TeacherOptions("u", prices={"u": Price(0, 0)})).report["usd"]
    assert usd["known"]
    assert usd["spent_in_all_runs"] == pytest.approx(tokens / 1e6, abs=1e-6)


def test_a_price_that_nobody_knows_any_more_is_said_and_refused_under_a_cap(
    server: TeacherServer, topics: Topics
) -> None:
    topics(spec(), TeacherOptions("t"))
    prices = {"u": Price(1, 2)}
    paid = server.paid
    with pytest.raises(OptionsError, match="requests to t whose price is not known"):
        topics(spec(), TeacherOptions("u", prices=prices, cost_cap=9.0))
    assert server.paid == paid
    assert not topics(spec(), TeacherOptions("u", prices=prices)).report["usd"]["known"]
    assert topics(spec(), TeacherOptions("t", prices={"t": Price(1, 2)})).report["usd"]["known"], (
        "and what u cost is noted"
    )


def test_a_journal_without_prices_is_carried_on(tmp_path: Path) -> None:
    path = tmp_path / "old.journal"
    with closing(sqlite3.connect(path)) as old:
        old.execute(
            "CREATE TABLE requests (id INTEGER PRIMARY KEY, key TEXT, slot TEXT, model TEXT, prompt_tokens INTEGER, "
            "completion_tokens INTEGER, outcome TEXT, reply TEXT)"
        )
        old.execute("INSERT INTO requests VALUES (1, 'k', 's', 'm', 10, 20, 'answered', NULL)")
        old.commit()
    for _ in range(2):
        journal = Journal(path)
        journal.record_sent("k2", "s", "m", 1, 2, Price(3, 4))
        assert next(iter(journal.records())).price is None
        assert list(journal.records())[-1].price == Price(3, 4)
        journal.close()


def test_a_plan_is_seeded_balanced_and_begins_with_the_smaller_one() -> None:
    def plan(count: int, seed: int = 1):
        return plan_slots(Plan(("a", "b"), count, seed, "en"), {"a": ["x", "y"]})

    large = plan(16)
    assert plan(5)["a"] == large["a"][:5]
    assert plan(16) == large != plan(16, seed=2)
    assert sorted(slot.sub_topic for slot in large["a"]) == ["x"] * 8 + ["y"] * 8
    assert {sum(slot.task == task for slot in large["b"]) for task in {slot.task for slot in large["b"]}} == {2}
    assert {slot.sub_topic for slot in large["b"]} == {"b"}
