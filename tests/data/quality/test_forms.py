"""Labels that the form gives away, endless answers, nobody who asks, preferences, conventions of pairs, mail heads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.data.check.file_check import check_file
from luthier.data.check.quality.question_form import form_of
from luthier.data.check.quality.repetition import endless_repetition
from luthier.data.check.quality.runner import QualityRunner
from luthier.data.findings import Finding, Report

FRUIT = ["apple", "pear", "plum", "fig", "lime", "kiwi", "date", "grape", "melon", "peach", "mango", "guava"]
Check = Callable[[list[dict[str, Any]]], Report]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    def checked(examples: list[dict[str, Any]]) -> Report:
        path = tmp_path / "f.jsonl"
        path.write_text("".join(json.dumps(example, ensure_ascii=False) + "\n" for example in examples))
        return check_file(path, minimum_examples=1, quality=QualityRunner())

    return checked


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def call(question: str, name: str) -> dict[str, Any]:
    calls = [{"id": "c", "type": "function", "function": {"name": name, "arguments": "{}"}}]
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "tool_calls": calls}]}


def of(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


def commands(reject: str, accept: list[str]) -> list[dict[str, Any]]:
    rejected = [call(reject.format(fruit), "decline") for fruit in FRUIT]
    accepted = [call(form.format(fruit), f"do_{n % 3}") for n, fruit in enumerate(FRUIT) for form in accept]
    return rejected + accepted


SURE = "12 / 12, 0 / 24"


@pytest.mark.parametrize(
    ("examples", "label", "form", "counts"),
    [
        (commands("Juggle the {}", ["Can you slice the {}?", "Let's peel the {}"]), "decline", "bare", SURE),
        (commands("把{}变没", ["能切一下{}吗？", "请削{}"]), "decline", "bare", SURE),
        (commands("Where does {} sleep", ["Slice the {}", "Peel the {}"]), "decline", "question", SURE),
        (commands("Please juggle the {}", ["Slice the {}", "Is the {} ripe?"]), "decline", "indirect", SURE),
        (commands("Could the {} sing?", ["Is the {} ripe?", "What is a {}?"]), "decline", "word", f"could: {SURE}"),
        (
            commands("Juggle the {} " + "and sing of home " * 5, ["Slice the {}", "Peel the {}"]),
            "decline",
            "long",
            "≥ 101: 11 / 11, 1 / 25",
        ),
        (
            [chat(f"The {fruit} was fine{n * '!'}", "good") for n in range(2) for fruit in FRUIT]
            + [chat(f"Is the {fruit} fine{n * '?'}?", "open") for n in range(2) for fruit in FRUIT],
            "good",
            "bare",
            "24 / 24, 0 / 24",
        ),
    ],
)
def test_a_label_that_the_form_gives_away(
    check: Check, examples: list[dict[str, Any]], label: str, form: str, counts: str
) -> None:
    findings = {finding.key: finding for finding in of(check(examples), "label_by_form")}
    assert (findings[label].detail, findings[label].value) == (form, counts)
    assert label in findings[label].text("zh")


@pytest.mark.parametrize(
    "examples",
    [
        commands("Juggle the {}", ["Slice the {}", "Can you peel the {}?"]),  # bare commands are accepted too
        commands("Translate {}", ["Describe the {}", "Name the {}"]),  # first words that carry the meaning
        [chat(f"Is {fruit} sweet?", "yes" if n % 2 else "no") for n, fruit in enumerate(FRUIT * 3)],
        [chat(f"Tell me of {fruit}", f"The {fruit} is a fruit that grows on trees and on bushes.") for fruit in FRUIT],
        commands("Juggle the {}", ["Can you slice the {}?"])[:7] + commands("x {}", ["Can you cut the {}?"])[12:],
    ],
)
def test_labels_that_it_does_not_give_away(check: Check, examples: list[dict[str, Any]]) -> None:
    assert not of(check(examples), "label_by_form")


@pytest.mark.parametrize(
    ("question", "kind", "word"),
    [
        ("Can you help", "question", "can"),
        ("It is late?", "question", ""),
        ("天气好吗", "question", ""),
        ("能不能快点", "question", "能不能"),
        ("Please go", "indirect", "please"),
        ("我想回家", "indirect", "我想"),
        ("Go", "bare", ""),
        ("打开窗户", "bare", ""),
        ("", "bare", ""),
    ],
)
def test_forms(question: str, kind: str, word: str) -> None:
    assert form_of(question) == (kind, word)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("Have a plum! " * 900, 900),
        ("First I will say it. " + "It is a fine day today. " * 40, 40),
        ("好的，没问题。" * 100, 100),
        ("The end comes. " * 60 + "Well then, that was all.", 60),
        ("ha" * 300, 300),
    ],
)
def test_endless_answers(check: Check, text: str, times: int) -> None:
    repetition = endless_repetition(text)
    assert repetition is not None
    assert abs(repetition.times - times) <= 6
    report = check([chat("Go on?", "Yes."), chat("Tell me.", text)])
    assert [(finding.line, finding.severity) for finding in of(report, "answer_repeats")] == [(2, "warning")]


@pytest.mark.parametrize(
    "text",
    [
        "| - | - | - |\n" * 60,
        "=" * 900,
        "".join(f"{n}. {FRUIT[n % 12]} costs {n * 7} crowns today.\n" for n in range(60)),
        "Yes, yes, yes, yes, yes, yes, yes, yes, yes!",
        "A plum is a fruit. " * 5 + "".join(f"And the {fruit} too, which few people know so well. " for fruit in FRUIT),
    ],
)
def test_answers_that_end(text: str) -> None:
    assert endless_repetition(text) is None


def test_an_example_in_which_nobody_asks(check: Check) -> None:
    system = {"role": "system", "content": "Be brief."}
    silent = {"messages": [system, {"role": "assistant", "content": "Welcome."}]}
    with_name = {"messages": [system, {"role": "assistant", "content": "Welcome.", "name": "a"}]}
    report = check([chat("Hello?", "Hi."), silent, with_name, {"prompt": "", "completion": " text"}])
    assert [finding.line for finding in of(report, "user_message_missing")] == [2, 3]


def preference(question: str, preferred: str, other: str) -> dict[str, Any]:
    answers = {
        name: [{"role": "assistant", "content": text}]
        for name, text in (("preferred_output", preferred), ("non_preferred_output", other))
    }
    return {"input": {"messages": [{"role": "user", "content": question}]}, **answers}


@pytest.mark.parametrize(
    ("examples", "code", "value"),
    [
        ([preference(f"A {fruit}?", f"A {fruit} is sweet.", "No.") for fruit in FRUIT * 2], "preferred_longer", 24),
        (
            [preference(f"{fruit}好吃吗？", "好吃", f"这个问题问得好，{fruit}好吃") for fruit in FRUIT * 2],
            "preferred_shorter",
            24,
        ),
        ([preference(f"A {fruit}?", "Yes.", "No!") for fruit in FRUIT * 2], "preferred_longer", None),
        (
            [preference(f"A {fruit}?", f"Yes, a {fruit}.", "No.") for fruit in FRUIT],
            "preferred_longer",
            None,
        ),  # too few
        (
            [preference(f"A {fruit}?", f"A {fruit} is sweet.", "No.") for fruit in FRUIT]
            + [preference(f"The {fruit}?", "Yes.", f"The {fruit} is sweet.") for fruit in FRUIT],
            "preferred_longer",
            None,
        ),
    ],
)
def test_preferences_that_the_length_gives_away(
    check: Check, examples: list[dict[str, Any]], code: str, value: int | None
) -> None:
    report = check(examples)
    expected = [] if value is None else [("note", f"{value} / {value}")]
    assert [(finding.severity, finding.value) for finding in of(report, code)] == expected


def test_pairs_that_contradict_each_other(check: Check) -> None:
    report = check(
        [
            preference("Pear or plum?", "A pear, of course.", "A plum, of course."),
            preference("Pear or fig?", "A plum, of course.", "A pear, of course."),  # another question
            preference("Pear or plum?", "A plum, of course.", "A fig, of course."),  # a chain
            preference("Pear or plum?", "A plum, of course.", "A pear, of course."),
        ]
    )
    assert [(finding.line, finding.detail) for finding in of(report, "preference_reversed")] == [(4, "1")]
    assert not of(report, "conflicting_answers")


def test_both_answers_of_a_pair_are_looked_at(check: Check) -> None:
    leak = "Its card is 4539 1488 0343 6467."
    report = check(
        [preference("Card?", "No.", leak), preference("Name?", leak, "No."), preference(leak, "Yes.", "No.")]
    )
    assert [finding.line for finding in of(report, "personal_data")] == [1, 2, 3]
    cut = "A bond is a loan. The holder receives interest every quarter until the day when the"
    report = check([preference("Bond?", "A loan.", cut), preference("A bond?", cut, "A loan.")])
    assert [finding.line for finding in of(report, "answer_cut_off")] == [2]


def test_the_tone_of_a_preferred_answer_is_meant(check: Check) -> None:
    warm, refusal = "Great question! A share is a part.", "I'm sorry, but I can't help with that."
    report = check([preference("A share?", warm, "A part."), preference("How to steal?", refusal, "At night.")])
    assert not {"preamble", "refusal"} & set(report.counts)
    assert {"preamble", "refusal"} <= set(check([chat("A share?", warm), chat("How to steal?", refusal)]).counts)


def pairs(prompt: str, completion: str, count: int = 12) -> list[dict[str, Any]]:
    return [{"prompt": prompt.format(n), "completion": completion.format(n)} for n in range(count)]


@pytest.mark.parametrize(
    ("examples", "codes"),
    [
        (pairs("Ad {0} costs {0}", "{0} crowns, {0}"), {"separator", "space", "ending"}),
        (pairs("Ad {0}\n\n###\n\n", " answer {0} END"), set()),
        (pairs("Ad {0} ->", " {0}"), {"ending"}),
        ([{"prompt": f"Post {n}", "completion": f" label{n % 2}"} for n in range(12)], {"separator"}),
        (pairs("", " free text {0}"), set()),
        ([*pairs("Ad {0}", "{0}"), chat("Ad?", "Yes.")], set()),
    ],
)
def test_conventions_of_prompts_and_completions(check: Check, examples: list[dict[str, Any]], codes: set[str]) -> None:
    report = check(examples)
    names = {"prompt_separator_missing", "completion_space_missing", "completion_ending_missing"}
    assert {code.split("_")[1] for code in report.counts if code in names} == codes
    assert all(finding.severity == "note" for finding in report.findings if finding.code in names)


def test_mail_heads_are_one_note(check: Check) -> None:
    heads = "From: {0}.kim@uni{0}.edu (K. Kim)\nSubject: Skates\nReply-To: {0}.kim@uni{0}.edu\n\nWhich {1} skates fit?"
    report = check([chat(heads.format("abcdefghijkl"[n], fruit), "hockey") for n, fruit in enumerate(FRUIT)])
    assert "personal_data" not in report.counts
    assert [(finding.severity, finding.detail) for finding in of(report, "mail_head")] == [("note", "12")]
    inside = check([chat("From: a.kim@uni.edu\n\nWrite to me, b.lee@uni.edu, today", "hockey")])
    assert (inside.counts["personal_data"], inside.counts["mail_head"]) == (1, 1)
