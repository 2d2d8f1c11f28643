"""Teachers that think aloud, answer in parts or fences, or give nothing: what is used, requested anew and given up."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from generate.conftest import run_with
from generate.teacher_server import TeacherServer
from luthier.generate.budget import Price
from luthier.generate.filters import screen_answer
from luthier.generate.journal import Journal, TeacherReply, TeacherRequest
from luthier.generate.list_parsing import numbered_lines, parse_list
from luthier.generate.plan import Plan
from luthier.generate.reply_text import split_reasoning, unfenced_prose
from luthier.generate.run import GenerationResult, TeacherOptions
from luthier.generate.thinking_room import THINKING_TOKENS
from luthier.generate.topics import TopicSpec

pytestmark = pytest.mark.services

Topics = Callable[..., GenerationResult]
PLAN = Plan(("银行理财", "保险"), 3, 7, "zh")
SPEC = TopicSpec(PLAN, sub_topics=2, batch=2)
THOUGHT = "先列个计划：\n1. 想想读者\n2. 再想想例子\n3. 最后动笔"


def one_part(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def thinking_part(text: str) -> dict[str, Any]:
    return {
        "content": [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, *one_part(text)["content"]]
    }


WRAPS: dict[str, Callable[[str], dict[str, Any]]] = {
    "a block": lambda text: {"content": f"<think>\n{THOUGHT}\n</think>\n\n{text}"},
    "a block of another name": lambda text: {"content": f"<Thinking>{THOUGHT}</Thinking>{text}"},
    "brackets": lambda text: {"content": f"[THINK]{THOUGHT}[/THINK]{text}"},
    "two blocks": lambda text: {"content": f"<think>{THOUGHT}</think>\n<think>好。</think>\n{text}"},
    "no opening mark": lambda text: {"content": f"{THOUGHT}\n</think>\n{text}"},
    "a field": lambda text: {"content": text, "reasoning_content": THOUGHT},
    "a field of another name": lambda text: {"content": text, "reasoning": THOUGHT},
    "a part": one_part,
    "several parts": lambda text: {"content": [*one_part(text[:3])["content"], *one_part(text[3:])["content"]]},
    "a thinking part": thinking_part,
    "a fence": lambda text: {"content": f"```{'json' if text.startswith('{') else 'md'}\n{text}\n```"},
    "a block and a fence": lambda text: {"content": f"<think>{THOUGHT}</think>\n```text\n{text}\n```\n"},
}


@pytest.mark.parametrize("structured", [True, None], ids=["schema", "lines"])
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_the_words_are_used_and_the_thoughts_are_not(
    server: TeacherServer, topics: Topics, wrap: Callable[[str], dict[str, Any]], structured: bool | None
) -> None:
    server.structured, server.wrap = structured, wrap
    outcome = topics(SPEC)
    written = json.dumps(outcome.examples, ensure_ascii=False)
    assert (outcome.report["made"], outcome.stopped) == (6, None)
    assert not any(mark in written for mark in ("think", "THINK", "计划", "想想", "```"))


@pytest.mark.parametrize("lost", ["<think>我还没", None, "", "<think>想好了</think>"])
def test_what_gave_nothing_is_requested_anew(server: TeacherServer, topics: Topics, lost: str | None) -> None:
    spoiled: list[str] = []

    def every_other(text: str) -> dict[str, Any]:
        if text.startswith('{"capital') or len(spoiled) % 2 == 1:
            spoiled.append("") if spoiled else None
            return {}
        spoiled.append(text)
        return {"content": lost, "reasoning_content": "嗯……"}

    server.wrap = every_other
    outcome = topics(SPEC, TeacherOptions("t", concurrency=1))
    assert outcome.report["made"] == 6
    assert outcome.rejects
    assert all("嗯……" in line["teacher_said"] for line in outcome.rejects if line["reason"] in ("thinking", "unusable"))


def test_a_rerun_after_repeats_pays_for_nothing(server: TeacherServer, topics: Topics) -> None:
    server.fault("请按下面", text="<think>没写完", times=2)
    first = topics(SPEC)
    paid = server.paid
    again = topics(SPEC)
    assert (again.examples, again.rejects, server.paid) == (first.examples, first.rejects, paid)


@pytest.mark.parametrize(
    "said", ["嗯。", "<think>1. 甲\n2. 乙", "I am a small model.", "方面：甲；类型：乙；提问者：丙"]
)
def test_a_teacher_whose_lists_are_unusable_is_given_up_early(server: TeacherServer, topics: Topics, said: str) -> None:
    plan = Plan(tuple(f"主题{number}" for number in range(10)), 20, 7, "zh")
    server.wrap = lambda text: {} if "capital" in text else {"content": said}
    outcome = topics(TopicSpec(plan, sub_topics=0, batch=5), TeacherOptions("t", concurrency=2))
    assert outcome.report["made"] == 0
    assert "gave no usable list" in str(outcome.stopped)
    assert said[:6] in str(outcome.stopped)
    assert len(server.requests) <= 30, "of at least 400"
    assert {line["teacher_said"] for line in outcome.rejects if line["stage"] == "list"} == {said}


def test_the_repeats_stay_under_the_cap(server: TeacherServer, topics: Topics) -> None:
    server.wrap = lambda text: {} if "capital" in text else {"content": None}
    options = TeacherOptions("t", prices={"t": Price(100, 100)}, cost_cap=0.3, concurrency=1)
    outcome = topics(SPEC, options)
    assert outcome.report["usd"]["spent_in_all_runs"] <= 0.3
    assert "cap" in str(outcome.stopped)


def test_a_thought_that_fills_the_reply_gets_room(server: TeacherServer, topics: Topics, journal: Journal) -> None:
    """A short probe is all thought; with the room it answers, and later requests have the room at once."""
    server.fault("capital", text="<think>Which country? France.", finish_reason="length")
    server.wrap = lambda text: {"content": text if text.startswith("<think>") else f"<think>{THOUGHT}</think>{text}"}
    outcome = topics(SPEC)
    limits = [body["max_tokens"] for body in server.requests]
    assert outcome.report["made"] == 6
    assert limits[:2] == [64, 64 + THINKING_TOKENS]
    assert min(limits[1:]) > THINKING_TOKENS


def test_a_judge_that_thinks_in_braces_is_read(server: TeacherServer, topics: Topics) -> None:
    thought = '<think>{"correct": 1, "helpful": 1, "format": 1}? No.</think>'
    server.wrap = lambda text: {"content": thought + text}
    outcome = topics(SPEC, TeacherOptions("t", judge="j"))
    assert outcome.report["made"] == 6
    assert outcome.report["judge"]["unreadable"] == 0


def test_a_judge_without_words_is_asked_anew_and_one_without_scores_is_quoted(
    server: TeacherServer, topics: Topics
) -> None:
    server.fault(lambda body: body["model"] == "j" and "capital" not in str(body), text="<think>Hm.", times=1)
    server.fault(lambda body: body["model"] == "j" and "capital" not in str(body), text="Fine by me.", times=2)
    outcome = topics(SPEC, TeacherOptions("t", judge="j", concurrency=1))
    quoted = [line["judge_said"] for line in outcome.rejects if line["reason"] == "judge_unreadable"]
    assert outcome.report["made"] == 6
    assert quoted == ["Fine by me."] * 2


def test_what_was_no_completion_is_quoted(server: TeacherServer, journal: Journal) -> None:
    from luthier.generate.budget import Budget
    from luthier.generate.errors import RequestFailedError
    from luthier.generate.limits import RateLimits
    from luthier.generate.teacher import Teacher

    server.respond = lambda body: (200, {}, {"detail": "busy, come back"})  # type: ignore[method-assign]

    async def ask(client: Any) -> TeacherReply:
        teacher = Teacher(client, "t", journal, Budget({"t": Price(1, 1)}), RateLimits())
        return await teacher.ask(TeacherRequest("answers/1", ({"role": "user", "content": "?"},), 50))

    with pytest.raises(RequestFailedError, match="busy, come back"):
        run_with(server, ask)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plain", "plain"),
        ("<reasoning>a</reasoning>b", "b"),
        ("◁think▷a◁/think▷b", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "b"),
        ("a</think>b</think>c", "c"),
        ("<think>a", ""),
        ("<THINK>a</THINK>", ""),
        ("The tag <think> opens a block.", "The tag <think> opens a block."),
        ("2 < 3 and 4 > 1", "2 < 3 and 4 > 1"),
    ],
)
def test_words_without_thoughts(text: str, words: str) -> None:
    assert split_reasoning(text)[1] == words


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("```markdown\n# 标题\n正文。\n```", "# 标题\n正文。"),
        ("````md\na\n```py\nx\n```\nb\n````", "a\n```py\nx\n```\nb"),
        ("```\nA sentence.\n```", "A sentence."),
        ("~~~text\n甲\n~~~", "甲"),
        ("```md\nnever closed.", "never closed."),
        ("```python\nprint(1)\n```", "```python\nprint(1)\n```"),
        ("```\nls -l\n```", "```\nls -l\n```"),
        ("```md\na\n```\nand\n```md\nb\n```", "```md\na\n```\nand\n```md\nb\n```"),
        ("Use this:\n```md\na\n```", "Use this:\n```md\na\n```"),
    ],
)
def test_a_fence_around_prose_comes_off_and_code_stays(text: str, inside: str) -> None:
    assert unfenced_prose(text) == inside


@pytest.mark.parametrize(
    "text",
    [
        "**1.** one\n**2.** two",
        "1. **one**\n2. **two**",
        "**1. one**\n**2. two**",
        "### 1. one\n\n### 2. two",
        "## Question 1\none\n\n## Question 2\ntwo",
        "**Question 1:** one\n**Question 2:** two",
        "Q1: one\nQ2: two",
        "问题1：one\n问题2：two",
        "| # | question |\n|---|---|\n| 1 | one |\n| 2 | two |",
        "> 1. one\n> 2. two",
        "1\\. one\n2\\. two",
        "Here they are:\n- one\n- two\nAnything else?",
        "```\n1. one\n2. two\n```",
        '["one", "two"]',
        'Sure:\n```json\n["one", "two"]\n```\nGood luck!',
        '{"questions": ["one", "two"]}',
        '{"1": "one", "2": "two"}',
        '[{"id": "1", "question": "one"}, {"id": "2", "question": "two"}]',
        'The list is {"items": [{"number": 1, "text": "one"}, {"number": 2, "text": "2. two"}]} as you wished.',
    ],
)
def test_lists_in_markdown_and_in_other_json(text: str) -> None:
    from luthier.generate.list_parsing import strip_quotes

    texts, _ = parse_list(text, 2)
    assert {number: strip_quotes(item) for number, item in texts.items()} == {1: "one", 2: "two"}


@pytest.mark.parametrize("text", ["What is 2**3 and 3**4?", "什么是 C# 的 1 号规则？", "第三方存管是什么？"])
def test_marks_that_are_text_stay(text: str) -> None:
    assert numbered_lines(f"1. {text}", 1) == {1: text}


@pytest.mark.parametrize("finish_reason", ["stop", "STOP", "end_turn", "eos"])
def test_the_ends_of_other_services_are_ends(finish_reason: str) -> None:
    reply = TeacherReply("定投可以摊平成本，适合长期投资。", finish_reason, 1, 1)
    assert screen_answer(reply, "什么是定投？").reason is None


def test_a_journal_of_an_earlier_version_is_read(journal: Journal) -> None:
    number = journal.record_sent("k", "s", "t", 1, 1, None)
    journal.record_reply(number, TeacherReply("words", "stop", 1, 1))
    raw = journal._execute("SELECT reply FROM requests").fetchone()[0]
    assert "reasoning" not in raw
    assert journal.find_reply("k") == TeacherReply("words", "stop", 1, 1, from_journal=True)
