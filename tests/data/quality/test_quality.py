"""Every kind of doubt: a file that raises it, and one that nearly does."""
# ruff: noqa: E501 - cases are read as a table

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.check.file_check import check_file
from luthier.data.check.quality import near_duplicates
from luthier.data.check.quality.runner import QualityRunner
from luthier.data.findings import Report
from luthier.data.findings.quality import QUALITY

LONG = "Money in a fund is spread over many shares. " * 3


def chat(answer: str, question: str = "What is a bond?", system: str | None = None, **keys: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return {"messages": messages, **keys}


def call(question: str, name: str = "quote", arguments: str = "{}", **keys: Any) -> dict[str, Any]:
    result = {"role": "assistant", "content": None, "function_call": {"name": name, "arguments": arguments}}
    return {"messages": [{"role": "user", "content": question}, result], **keys}


def several(count: int, answer: Any, question: str = "Question number {}?") -> list[dict[str, Any]]:
    return [chat(answer(n), question.format(n)) for n in range(count)]


def words(n: int) -> str:
    return " ".join(("north", "south", "east", "west", "river", "stone")[n // 6**k % 6] for k in range(5))


# code: (files that raise it, files that nearly do)
CASES: dict[str, tuple[list[list[Any]], list[list[Any]]]] = {
    "preamble": (
        [[chat("好的！债券是一种借款。")], [chat("Sure, here is the answer:\n\nA bond is a loan.")]],
        [[chat("好的基金经理会控制回撤。")], [chat("可以。根据规定需要三天。", "基金可以提前赎回吗？")], [chat("Certainty is rare.")]],
    ),
    "common_opening": (
        [several(30, lambda n: f"Thank you for your trust. {words(n)} {LONG}")],
        [
            several(30, lambda n: f"{words(n)} {LONG}"),
            several(19, lambda n: f"Thank you for your trust. {words(n)} {LONG}"),
            several(30, lambda n: f'{{"topic": "{words(n)}", "text": "{LONG}"}}'),
        ],
    ),
    "answer_cut_off": (
        [
            [chat("基金把钱分散到多只股票。这样，一家公司的坏消息就不会决定全部的收益，而投资者也")],
            [chat("A bond is a loan. The holder receives interest every quarter until the day when the")],
            [chat("First, open an account. Then buy the fund that fits your plan, for example,")],
            [chat("Use this:\n```python\nprint(1)\n")],
            [chat('{"answer": "a bond is a loan to a gov')],
            [chat("1. Open an account today.\n2. Read the fees.\n3. Buy a fund that spreads its money over many of")],
            [chat("定投的好处是：\n- 分散风险。\n- 平滑成本。\n-")],
        ],
        [
            [chat("card_arrival")],
            [chat("事件类型：利润下滑\n主体：利亚德\n时间：2019年\n数值：下滑44.33%")],
            [chat("- shares of large companies\n- bonds of governments\n- cash in the bank")],
            [chat("Use this:\n```python\nprint(1)\n```")],
            [chat('{"answer": "a bond is a loan to a government"}')],
            [chat("富士通宣布分拆个人电脑和手机业务组建两个全新的公司")],
            [chat("Thank you for your letter. We will write soon.\n\nBest regards,\nAnn Smith")],
            [chat("Hey there, so good to hear from you! Your parcel is on its way and comes tomorrow 🎉")],
            [chat("Thanks for waiting! We look into it today and write to you before the evening ❤️")],
        ],
    ),
    "refusal": (
        [[chat("作为一个AI语言模型，我无法预测股价。")], [chat("I'm sorry, but I can't help with that.")]],
        [
            [chat("公司无法按期付息时，债券就会违约。")],
            [chat("As an investor you cannot avoid all risk.")],
            [chat("很抱歉让您久等，您的卡片明天寄到。")],
        ],
    ),
    "identity_leak": (
        [[chat("我是由OpenAI开发的ChatGPT。", "你是谁？")], [chat("I am Claude, made by Anthropic.", "Who are you?")]],
        [[chat("OpenAI released ChatGPT in 2022.")], [chat("我是您的理财助手。", "你是谁？")]],
    ),
    "near_duplicate": (
        [
            [chat("A loan.", "How do I verify my identity with you?"), chat("A loan.", "how do I verify my identity with you")],
            [call("麻烦查询恒瑞医药的涨跌幅，谢谢", "quote", '{"a": 1}'), call("麻烦查询恒瑞医药的涨跌幅，谢谢！", "quote", '{"a": 1}')],
        ],
        [
            [call("Quote of share 600519 please", arguments='{"a": 1}'), call("Quote of share 600518 please", arguments='{"a": 1}')],
            [call("麻烦查询恒瑞医药的涨跌幅，谢谢", "quote", '{"a": 1}'), call("麻烦查询恒瑞医药的涨跌幅，谢谢！", "quote", '{"a": 2}')],
            [chat("A loan.", "Is a bond a loan?", tools=[{"type": "function", "function": {"name": "a"}}]), chat("A loan.", "is a bond a loan")],
            [chat("A loan."), chat("A loan.")],  # an exact copy is another kind
        ],
    ),
    "conflicting_answers": (
        [[chat("yes", "Is it safe?"), chat("no", "Is it safe?")], [call("Price?"), call("Price?", "news")]],
        [
            [chat("yes", "Is it safe?", "Be brief."), chat("no", "Is it safe?", "Be bold.")],
            [chat("yes", "Is it safe?"), chat("no", "Is it cheap?")],
        ],
    ),
    "system_prompt_blank": ([[chat("A loan.", system=" \n")]], [[chat("A loan.", system=".")]]),
    "system_prompt_repeated": (
        [[{"messages": [{"role": "system", "content": "Be brief."}, *chat("A loan.", system="Be brief.")["messages"]]}]],
        [[chat("A loan.", system="Be brief.")]],
    ),
    "system_prompt_varies": (
        [[chat("A loan.", system="Be brief."), chat("A gain.", "And a share?", system="be brief")]],
        [[chat("A loan.", system="Be brief."), chat("A gain.", "And a share?", system="Be long.")]],
    ),
    "system_prompt_missing": (
        [[chat("A loan.", system="Be brief."), chat("A gain.", "And a share?")]],
        [[chat("A loan."), chat("A gain.", "And a share?")]],
    ),
    "label_imbalance": (
        [several(60, lambda n: "rare" if n % 20 == 0 else "common")],
        [several(60, lambda n: "rare" if n % 8 == 0 else "common"), several(60, lambda n: "all")],
    ),
    "call_imbalance": (
        [[call(words(n), "rare" if n % 20 == 0 else "common") for n in range(60)]],
        [[call(words(n), "rare" if n % 8 == 0 else "common") for n in range(60)]],
    ),
    "answer_language": (
        [[*several(9, lambda n: "债券是一种借款，到期还本付息。", "第{}个问题：什么是债券？"),
          chat("A bond is a loan that is paid back with interest.", "什么是债券和国债的利率？")]],
        [
            [chat("A bond is a loan that is paid back with interest.", "请把这句话翻译成英文：债券是借款。")],
            several(9, lambda n: "A bond is a loan that is paid back with interest.", "第{}个问题：什么是债券？"),
            several(9, lambda n: "card_arrival", "第{}个问题：我的卡什么时候到？"),
        ],
    ),
    "foreign_script": (
        [[chat("债券是一种借款，投资者каждый按期收到利息，到期收回本金。")]],
        [[chat("债券的英文是 bond，符号 β 表示风险。")], [chat("Привет means hello in that language.", "What does Привет mean?")]],
    ),
    "garbled_text": ([[chat("债券是锟斤拷一种借款。")], [chat("The cafÃ© is open.")]], [[chat("The café is open. Ägypten.")]]),
    "secret": (
        [
            [chat("Use sk-proj-abcd1234efgh5678ijkl9012mnop to log in.")],
            [chat("A loan.", "我的密码是 hunter2024abc，请帮我登录")],
            [chat("-----BEGIN RSA PRIVATE KEY-----\nMIIE")],
        ],
        [[chat("Set api_key=YOUR_API_KEY first.")], [chat("Your password: at least 8 characters.")], [chat("task-list-of-things-to-do-today")]],
    ),
    "personal_data": (
        [
            [chat("请联系 13912345067。")],
            [chat("身份证号 11010519491231002X 已登记。")],
            [chat("Card 4539 1488 0343 6467 is yours.")],
            [chat("Write to ann.smith@gmail.com.")],
            [chat("IBAN: DE89 3704 0044 0532 0130 00")],
            [chat("SSN 219-09-9999")],
        ],
        [
            [chat("订单号 139123450671 已发货。")],
            [chat("身份证号 110105194912310021 有误。")],
            [chat("Card 4539 1488 0343 6468 is refused.")],
            [chat("Write to support@bank.com or ann@example.com.")],
            [chat("IBAN: DE89 3704 0044 0532 0130 01")],
            [chat("Part 000-09-9999, call 555-0100.")],
        ],
    ),
}  # fmt: skip
# These need more than one plain file, and have tests of their own below or in `test_forms`.
ALONE = {
    "validation_leak", "likeness_sampled", "truncated", "nothing_trainable_in_context", "base_refuses_example",
    "answer_repeats", "mail_head", "label_by_form",
}  # fmt: skip


@pytest.fixture
def check(tmp_path: Path) -> Any:
    def run(examples: list[Any], quality: QualityRunner | None = None) -> Report:
        path = tmp_path / "file.jsonl"
        path.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in examples), encoding="utf-8")
        return check_file(path, minimum_examples=1, quality=quality or QualityRunner())

    return run


def test_every_kind_is_tested() -> None:
    assert CASES.keys() | ALONE == QUALITY.keys()


@pytest.mark.parametrize(("code", "examples"), [(code, file) for code, (faulty, _) in CASES.items() for file in faulty])
def test_what_raises_it(check: Any, code: str, examples: list[Any]) -> None:
    report = check(examples)
    assert report.counts[code] == 1, report.counts
    assert report.ok


@pytest.mark.parametrize(("code", "examples"), [(code, file) for code, (_, near) in CASES.items() for file in near])
def test_what_nearly_does(check: Any, code: str, examples: list[Any]) -> None:
    assert check(examples).counts[code] == 0


def test_places_are_told(check: Any) -> None:
    report = check([chat("A loan."), chat("Great question! A share is a part.", "And a share?", "Be brief.")])
    (finding,) = [entry for entry in report.findings if entry.code == "preamble"]
    assert (finding.line, finding.example, finding.message_index) == (2, 2, 2)
    assert finding.value == "Great question!"


def test_what_is_not_trained_teaches_nothing(check: Any) -> None:
    untrained = {"role": "assistant", "content": "好的！债券是借款。", "weight": 0}
    trained = {"role": "assistant", "content": "债券是借款。"}
    user = {"role": "user", "content": "什么是债券？"}
    assert check([{"messages": [user, untrained, user, trained]}]).counts == {}


def test_declining_is_part_of_the_lesson_where_functions_are_defined(check: Any) -> None:
    tools = [{"type": "function", "function": {"name": "quote", "parameters": {"type": "object", "properties": {}}}}]
    (finding,) = check([chat("I'm sorry, but I can't do that.", tools=tools)]).findings
    assert (finding.code, finding.severity) == ("refusal", "note")


def test_long_answers_may_be_worded_in_several_ways(check: Any) -> None:
    report = check([chat(LONG), chat(LONG + words(3) + ".")])
    assert [(entry.code, entry.severity) for entry in report.findings] == [("conflicting_answers", "note")]


def test_secrets_are_shown_masked(check: Any) -> None:
    (finding,) = check([chat("Write to ann.smith@gmail.com.")]).findings
    assert finding.value == "an****@gmail.com"


def test_what_validation_shares_with_training(check: Any) -> None:
    training = QualityRunner()
    check([chat("A loan.", "What is a bond, in one word?"), call("Price of share 7?")], training)
    others = [chat("A part.", "What is a share, in one word?"), call("Price of share 8?")]
    leaks = [chat("A debt.", "What is a bond, in one word?"), call("price of share 7")]
    report = check(others + leaks, QualityRunner(training))
    assert [(entry.code, entry.line, entry.detail) for entry in report.findings] == [
        ("validation_leak", 3, "1"),
        ("validation_leak", 4, "2"),
    ]


def test_likeness_is_honest_about_its_limit(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "MAX_EXAMPLES", 1000)
    report = check(several(2500, words, "{}?"))
    assert [(entry.value, entry.detail) for entry in report.findings if entry.code == "likeness_sampled"] == [
        ("1024", "2500")
    ]


def test_examples_in_many_batches_are_all_seen(check: Any) -> None:
    examples = several(2500, words, "{}?")
    for place in (0, 1023, 1024, 2499):
        examples[place]["messages"][1]["content"] = "Sure! " + words(place)
    report = check(examples)
    assert [entry.line for entry in report.findings if entry.code == "preamble"] == [1, 1024, 1025, 2500]


def test_a_nul_in_a_text_is_named_and_moves_nothing(check: Any) -> None:
    report = check(
        [chat("A loan.", "What is\0a bond?"), chat("A part.", "0\0\0"), chat("Sure! A\0debt.", "and"), chat("x")]
    )
    assert [(entry.code, entry.line, entry.message_index) for entry in report.findings] == [
        ("preamble", 3, 1), ("escape_damage", 1, 0), ("escape_damage", 2, 0), ("escape_damage", 3, 1),
    ]  # fmt: skip


MARKS: list[tuple[str, list[str], list[str]]] = [  # a kind, answers that raise it, answers that nearly do
    (
        "call_as_text",
        ['<tool_call>\n{"name": "quote", "arguments": {}}\n</tool_call>', "[TOOL_CALLS][{}]", "<function=quote>\n</function>",
         "One moment. <|tool_call>call:quote{}"],
        ["Write `<tool_call>` around it.", "The <function> element.", "```\n<tool_call>{}</tool_call>\n```"],
    ),
    (
        "reasoning_open",
        ["<think>\nThe holder lends money, so", "  <think>It is", "The holder lends money.\n</think>\nA loan."],
        ["<think>It is.</think>A loan.", "Close it with `</think>`.", "Both <think> and </think> are marks."],
    ),
    (
        "invisible_character",
        ["\ufeffA loan.", "A\u200bloan.", "债券\u202e是借条。", "A\u2060loan."],
        ["ก\u200bข", "👩\u200d👧", "می\u200cخواهم", "שלום\u200f", "A loan."],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "texts", "others"), MARKS)
def test_marks_that_no_reader_should_see(check: Any, code: str, texts: list[str], others: list[str]) -> None:
    report = check([chat(text, f"What is bond {number}?") for number, text in enumerate([*texts, *others])])
    assert [entry.line for entry in report.findings if entry.code == code] == [*range(1, len(texts) + 1)]
    untrained = chat(texts[0])
    untrained["messages"][1]["weight"] = 0
    assert check([untrained | {"messages": [*untrained["messages"], *chat("A part.")["messages"]]}]).counts[code] == 0


def test_proved_and_other_lines_say_the_same(tmp_path: Path) -> None:
    """The same example, written in the common form and in another, is the same to every look."""
    examples = [example for faulty, near in CASES.values() for file in (*faulty, *near) for example in file]
    examples += [chat("", "x"), chat("A.", ""), {"messages": chat("A.", "Q?")["messages"] * 2 + chat("B.")["messages"]}]
    reports = []
    for separators in ((", ", ": "), (" , ", ": ")):  # the second is never proved
        path = tmp_path / "file.jsonl"
        lines = [json.dumps(entry, ensure_ascii=False, separators=separators) + "\n" for entry in examples * 3]
        path.write_text("".join(lines), encoding="utf-8")
        reports.append(check_file(path, quality=QualityRunner()).to_dict("en"))
    assert reports[0] == reports[1]


def test_copies_are_told_whatever_their_form(tmp_path: Path) -> None:
    entry = chat('A "loan".\n', "什么是债券？", "Be brief.")
    turned = {"messages": [dict(reversed(message.items())) for message in entry["messages"]]}
    path = tmp_path / "file.jsonl"
    path.write_text(
        json.dumps(entry) + "\n" + json.dumps(turned, ensure_ascii=False) + "\n" + json.dumps(entry) + " \n"
    )
    findings = check_file(path, minimum_examples=1, quality=QualityRunner()).findings
    assert [(each.code, each.line, each.detail) for each in findings] == [("duplicate_example", n, "1") for n in (2, 3)]


def test_copies_beyond_those_that_are_kept_are_counted(check: Any) -> None:
    report = check([chat("A loan.")] * 250)
    assert report.counts == {"duplicate_example": 249}
    assert [finding.line for finding in report.findings] == list(range(2, 102))
