"""Preference pairs of other formats: answers that are JSON, keys in any case, and pairs that cannot be read."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.check.file_check import check_file
from luthier.data.convert import prepared
from luthier.data.findings import Finding, Report

QUESTION = [{"role": "user", "content": "Which river?"}]
CHOSEN, REJECTED = [{"role": "assistant", "content": "The Elbe."}], [{"role": "assistant", "content": "The Po."}]
PAIR = {"input": {"messages": QUESTION}, "preferred_output": CHOSEN, "non_preferred_output": REJECTED}


def checked(path: Path, *records: Any) -> tuple[list[Any], list[Finding]]:
    """The converted lines, and all findings on them."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    with prepared(path) as file:
        report = Report()
        for note in file.notes:
            report.add(note)
        check_file(file.path, minimum_examples=1, method="dpo", report=report)
        return [json.loads(line) for line in file.path.read_bytes().splitlines()], report.findings


@pytest.mark.parametrize(
    "answers",
    [
        ('{"name": "Bob", "age": 3}', '{"name": "Ann"}'),
        ('[{"name": "Bob"}]', "[]"),
        ('{"role": "admin"}', '{"content": "x"}'),
        ('[{"role": "user", "content": "x"}, 3]', '{"messages": 3}'),
        ("[1, 2]", "null"),
        ('"quoted"', "3"),
    ],
)
def test_answers_in_json_stay_texts(tmp_path: Path, answers: tuple[str, str]) -> None:
    chosen, rejected = answers
    (pair,), findings = checked(tmp_path / "f", {"prompt": "As JSON?", "chosen": chosen, "rejected": rejected})
    assert [pair[key][0] for key in ("preferred_output", "non_preferred_output")] == [
        {"role": "assistant", "content": text} for text in answers
    ]
    assert [finding.code for finding in findings] == ["converted_from"]


@pytest.mark.parametrize(
    "keys",
    [
        ("Prompt", "Chosen", "Rejected"), ("PROMPT", "CHOSEN", "REJECTED"), ("提问", "chosen", "rejected"),
        ("问题", "chosen_output", "rejected_output"), ("question", "answer", "rejected"),
        ("prompt", "output", "rejected"),
        ("Instruction", "Chosen_Response", "Rejected_Response"),
    ],
)  # fmt: skip
def test_keys_in_any_case(tmp_path: Path, keys: tuple[str, str, str]) -> None:
    record = dict(zip(keys, ("Which river?", "The Elbe.", "The Po."), strict=True))
    pairs, findings = checked(tmp_path / "f", record, record | {keys[2]: ["The Po."]})
    assert pairs == [PAIR, PAIR]
    assert [finding.code for finding in findings] == ["converted_from"]


@pytest.mark.parametrize("conversation", [QUESTION, QUESTION + CHOSEN])
@pytest.mark.parametrize("sides", [("The Elbe.", "The Po."), (QUESTION + CHOSEN, QUESTION + REJECTED)])
def test_a_conversation_may_end_with_the_chosen_answer(tmp_path: Path, conversation: Any, sides: Any) -> None:
    record = {"messages": conversation, "chosen": sides[0], "rejected": sides[1]}
    assert checked(tmp_path / "f", record)[0] == [PAIR]


UNREAD: list[dict[str, Any]] = [
    {"prompt": "a", "chosen": "b", "rejected": None},
    {"Prompt": "a", "Chosen": None, "Rejected": "c"},
    {"prompt": "a", "chosen": "b", "rejected": 3},
    {"chosen": "b", "rejected": "c"},
    {"prompt": "a", "question": "d", "chosen": "b", "rejected": "c"},
]
SEVERAL: list[dict[str, Any]] = [
    {"prompt": "a", "chosen": "b", "rejected": ["c", "d"]},
    {"question": "a", "answer": "b", "rejected_responses": ["c", "d", "e"]},
]


@pytest.mark.parametrize("record", UNREAD + SEVERAL)
def test_what_is_wrong_with_a_pair(tmp_path: Path, record: dict[str, Any]) -> None:
    detail = "several" if record in SEVERAL else "unread"
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    for records in ([record, record], [good, record]):
        lines, findings = checked(tmp_path / "f", *records)
        assert lines[1] == record
        faults = {finding.line: finding for finding in findings if finding.code == "preference_invalid"}
        assert (faults[2].detail, faults[2].severity) == (detail, "error")
        assert all(faults[2].text(language) and faults[2].remedy(language) for language in ("en", "zh"))
        others = {finding.code for finding in findings} - {"preference_invalid"}
        assert others == ({"converted_from"} if good in records else {"unexpected_format"})


def test_a_table_of_pairs_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("prompt,question,chosen,rejected\na,d,b,c\na,d,b,e\n")
    with prepared(path) as file:
        report = check_file(file.path, minimum_examples=1, method="dpo")
        assert [note.value for note in file.notes] == ["CSV table"]
    assert report.counts == {"unexpected_format": 1, "preference_invalid": 2}


def test_a_question_that_ends_with_an_answer(tmp_path: Path) -> None:
    other = [{"role": "assistant", "content": "The Rhine."}]
    for record in (
        PAIR | {"input": {"messages": QUESTION + other}},
        {"prompt": QUESTION + other, "chosen": CHOSEN, "rejected": REJECTED},
    ):
        _, findings = checked(tmp_path / "f", record)
        (finding,) = (finding for finding in findings if finding.code != "converted_from")
        assert (finding.code, finding.severity, finding.detail) == ("preference_invalid", "warning", "prompt")
        assert finding.message_index == 1
