"""Texts that a program damaged, questions as a generator writes them, answers in a row, arguments from nowhere."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from data.remarks import REMARKS
from luthier.data.check.file_check import check_file
from luthier.data.check.quality.argument_sources import is_mentioned
from luthier.data.check.quality.runner import QualityRunner
from luthier.data.findings import Report

CODES = {
    "escape_damage", "escape_residue", "placeholder", "missing_value", "question_preamble", "assistant_repeated",
    "argument_unmentioned", "answer_cut_off", "mostly_alike",
}  # fmt: skip


def chat(answer: str, question: str = "How?") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def checked(tmp_path: Path, *examples: Any) -> Report:
    path = tmp_path / "f.jsonl"
    path.write_text("".join(json.dumps(example) + "\n" for example in examples))
    return check_file(path, minimum_examples=1, quality=QualityRunner())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The area is \x0crac{a}{b}.", "escape_damage"),
        ("Take \x08eta as given.", "escape_damage"),
        ("3 \times 4 = 12".replace("\\t", "\t"), "escape_damage"),
        ("The angle \theta is small.", "escape_damage"),
        ("ring\x07", "escape_damage"),
        ("One._x000D_\nTwo.", "escape_residue"),
        ("A_x0009_B.", "escape_residue"),
        ("The word is \\u732b.", "escape_residue"),
        ("Fish &amp; chips.", "escape_residue"),
        ("Caf&eacute; au lait.", "escape_residue"),
        ("The file is called %E6%A1%A5%E6%A2%81.", "escape_residue"),
        ("It=E2=80=99s late.", "escape_residue"),
        ("=E6=A1=A5 is a bridge.", "escape_residue"),
        ("The word is \\xe6\\xa1\\xa5.", "escape_residue"),
        ("I am {{bot_name}}, made by us.", "placeholder"),
        ("Dear ${customer}, welcome.", "placeholder"),
        ("Dear [Your Name], welcome.", "placeholder"),
        ("我是{{ 名字 }}。", "placeholder"),
        ("您好，[姓名]。", "placeholder"),
        ("Dear Ms. [Last Name], thank you.", "placeholder"),
        ("Hello {customer_name}!", "placeholder"),
        ("请联系[联系人]。", "placeholder"),
        ("TBD", "missing_value"),
        ("(blank)", "missing_value"),
        ("待补充", "missing_value"),
        ("NaN", "missing_value"),
        (" null ", "missing_value"),
        ("#REF!", "missing_value"),
        ("[object Object]", "missing_value"),
    ],
)
def test_damage_is_found_in_answers(tmp_path: Path, text: str, code: str) -> None:
    report = checked(tmp_path, chat("Fine."), chat(text), chat("Good."))
    assert [(f.code, f.line) for f in report.findings if f.code in CODES] == [(code, 2)]
    assert report.ok


@pytest.mark.parametrize(
    "text",
    [
        "A\tB\n\nC",
        "Write \\n for a line break.",
        "```python\nprint(f'{name}', '\\u732b')\n```",
        '{"text": "\\u732b"}',
        "Nano is small.",
        "None of them is open today.",
        "See [the name](https://example.com).",
        "AT&T and R&D.",
        "See https://example.com/wiki/%E6%A1%A5%E6%A2%81?a=%E6%A1%A5%E6%A2%81.",
        "Profit = 100 % of 5%, a=b&c=d; x=E4 and y=E2.",
        "【姓名】李雷\n【日期】三月一日",
        "A regex: \\d+\\x and \\w.",
        "Use snake_x_case.",
        "nothing",
    ],
)
def test_good_texts_are_left_alone(tmp_path: Path, text: str) -> None:
    assert not CODES & checked(tmp_path, chat(text)).counts.keys()


def test_a_placeholder_that_is_the_subject(tmp_path: Path) -> None:
    assert (
        not CODES & checked(tmp_path, chat("Jinja prints {{ user }} there.", "What does {{ user }} do?")).counts.keys()
    )


@pytest.mark.parametrize(
    "question",
    [
        "好的，这里有一个关于基金的问题：\n\n什么是指数基金？",
        "当然可以！以下是一个关于保险的提问：保险怎么买？",
        "没问题！怎样计算复利？",
        "Sure! Here is a question about bonds:\n\nWhat is a coupon?",
        "Here's an example question about taxes: When are they due?",
        "Certainly! What is a coupon?",
    ],
)
def test_preambles_of_questions(tmp_path: Path, question: str) -> None:
    (finding,) = [f for f in checked(tmp_path, chat("An answer.", question)).findings if f.code in CODES]
    assert finding.code == "question_preamble"
    assert finding.value in question


@pytest.mark.parametrize(
    "question",
    ["好的，那利率是多少？", "好的基金经理有哪些特点？", "您好，请问怎么开户？", "Great, and what about bonds?",
     "Sure?", "Here is my code: x = 1. Why?", "以下是我的代码：x = 1"],
)  # fmt: skip
def test_what_people_ask_has_no_preamble(tmp_path: Path, question: str) -> None:
    assert checked(tmp_path, chat("An answer.", question)).counts["question_preamble"] == 0


@pytest.mark.parametrize(
    "answer",
    [
        "有三点：\n1. 收入：看营业收入的增长。\n2. 负债：看资产负债率是否过高。\n3.",
        "Three points matter here.\n- Income: look at growth.\n- Debt: look at ratios.\n -",
        "市盈率反映投资者愿意支付的价格。较低的市盈率可能表明股票被低估，但",
    ],
)
def test_answers_that_stop_at_an_empty_entry(tmp_path: Path, answer: str) -> None:
    assert checked(tmp_path, chat(answer)).counts["answer_cut_off"] == 1


TOOL = {
    "type": "function",
    "function": {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "class": {"enum": ["first", "second"]},
                "seats": {"type": "integer"},
            },
        },
    },
}  # fmt: skip


def called(question: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": "book", "arguments": json.dumps(arguments, ensure_ascii=False)}
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    return {"messages": [{"role": "user", "content": question}, call], "tools": [TOOL]}


def test_arguments_that_nobody_mentioned(tmp_path: Path) -> None:
    report = checked(
        tmp_path,
        called("A train to Graz, please.", city="Graz"),
        called("A train to Graz, please.", city="Linz"),
        called("去西安的车票", city="西安市", **{"class": "second"}),
        called("Three seats to Graz.", city="Graz", seats=3),
        called("Seats to Graz.", city="Graz", seats=47),
        called("Graz, 47 seats.", city="Graz", seats=47),
    )
    remarks = [(f.line, f.key, f.value, f.severity) for f in report.findings if f.code == "argument_unmentioned"]
    assert remarks == [(2, "city", "Linz", "note"), (5, "seats", "47", "note")]


@pytest.mark.parametrize(
    ("value", "context"),
    [("2025-03-01", "tomorrow"), ("beijing", "北京天气"), ("西安", "weather in xi'an"), (0.05, "5% off"), (1, "x"),
     (1500, "1,500 euros".replace(",", "")), (20000, "两万元")],
)  # fmt: skip
def test_what_is_derived_is_not_judged(value: Any, context: str) -> None:
    assert is_mentioned(value, context)


def test_two_answers_in_a_row(tmp_path: Path) -> None:
    first = {"role": "assistant", "content": "One moment."}
    question, *_ = chat("x")["messages"]
    call = called("Graz", city="Graz")["messages"][1]
    report = checked(
        tmp_path,
        {"messages": [question, first, {"role": "assistant", "content": "Done."}]},
        {"messages": [question, first | {"weight": 0}, {"role": "assistant", "content": "Done."}]},
        {"messages": [question, first, question, {"role": "assistant", "content": "Done."}]},
        {"messages": [{"role": "user", "content": "Graz"}, first, call], "tools": [TOOL]},
    )
    assert [(f.line, f.message_index) for f in report.findings if f.code == "assistant_repeated"] == [(1, 2), (4, 2)]


@pytest.mark.parametrize(
    "template",
    [
        "Decide whether the following remark on a hotel room is friendly or not, in one word.\n\nRemark: {}",
        "{}\n\n请判断上面这条评论的态度，只回答正面或负面两个字，不要写别的内容，也不要解释理由。",
        "What would a careful and experienced critic of furniture say about a chair that is {} in one word",
    ],
)
def test_a_shared_instruction_makes_no_near_duplicates(tmp_path: Path, template: str) -> None:
    examples = [chat("good" if n % 2 else "bad", template.format(remark)) for n, remark in enumerate(REMARKS)]
    counts = checked(tmp_path, *examples).counts
    assert counts["near_duplicate"] + counts["mostly_alike"] == 0


def test_a_file_of_near_duplicates_is_one_finding(tmp_path: Path) -> None:
    text = "I ordered a lamp for the kitchen last week and it came with a crack, what can I do about it now"
    examples = [
        chat("Send it back.", f"{text}{mark}") for mark in ["", "?", "!", ".", "…", "??", "!!", "?!"] for _ in "a"
    ]
    examples += [
        chat("Send it back.", text.replace(" now", f" now {word}")) for word in ("please", "then", "so", "ok", "x")
    ]
    report = checked(tmp_path, *examples)
    assert report.counts["near_duplicate"] + report.counts["mostly_alike"] > 0
    assert report.counts["near_duplicate"] == 0 or report.counts["mostly_alike"] == 0


@pytest.mark.long
def test_time_grows_with_the_calls_of_a_conversation_and_not_with_their_square(tmp_path: Path) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Look at each."}]
    for number in range(1500):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": f'{{"n": "x{number}"}}'}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": f"next is x{number + 1}. " * 5})
    messages.append({"role": "assistant", "content": "Done."})
    start = time.thread_time()
    report = checked(tmp_path, {"messages": messages})
    assert time.thread_time() - start < 3  # comparing each call with all that stands before it takes ten times as long
    assert report.counts["argument_unmentioned"] == 1  # x0
