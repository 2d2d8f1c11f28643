"""Turns of other formats keep their speakers, texts and calls, under any of their keys; others stay as they are."""

import csv
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from luthier.data.check.file_check import check_file
from luthier.data.convert import prepared
from luthier.data.findings import Finding, Report


def checked(path: Path, *records: Any, method: str = "supervised") -> tuple[list[Any], list[Finding]]:
    """The converted lines, and all findings on them but that they were converted."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    with prepared(path) as file:
        report = Report()
        for note in file.notes:
            report.add(note)
        check_file(file.path, minimum_examples=1, method=method, report=report)
        examples = [json.loads(line) for line in file.path.read_bytes().splitlines()]
    return examples, [finding for finding in report.findings if finding.code != "converted_from"]


def role_texts(example: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(message["role"], message.get("content")) for message in example["messages"]]


@pytest.mark.parametrize(
    ("question", "answer"),
    [("question", "answer"), ("q", "a"), ("问", "答"), ("Human", "Assistant"), ("input", "output")],
)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_earlier_turns_are_read_by_their_keys(tmp_path: Path, question: str, answer: str, is_reversed: bool) -> None:
    turn = {question: "Which river?", answer: "The Elbe."}
    history = [dict(reversed(turn.items())) if is_reversed else turn]
    for record in (
        {"instruction": "And?", "output": "The Oder.", "history": history},
        {"question": "And?", "chosen": "The Oder.", "rejected": "The Po.", "history": history},
    ):
        method = "dpo" if "chosen" in record else "supervised"
        (example, _), findings = checked(tmp_path / "f", record, record, method=method)
        turns = role_texts(example.get("input", example))
        assert turns[:3] == [("user", "Which river?"), ("assistant", "The Elbe."), ("user", "And?")]
        assert findings == []


@pytest.mark.parametrize("key", ["history", "历史", "turns", "chat_history"])
def test_earlier_turns_of_the_only_object_are_not_its_examples(tmp_path: Path, key: str) -> None:
    turns = [{"question": "Which river?", "answer": "The Elbe."}, {"question": "Where?", "answer": "In Saxony."}]
    examples, findings = checked(tmp_path / "f", {"instruction": "And?", "output": "The Oder.", key: turns})
    assert len(examples) == 1
    if key == "chat_history":
        assert any(finding.severity == "error" for finding in findings)
    elif key != "turns":
        assert len(examples[0]["messages"]) == 6


@pytest.mark.parametrize("key", ["history", "turns", "dialogs", "chats", "conversations", "data"])
def test_a_list_of_complete_examples_is_read_under_any_name(tmp_path: Path, key: str) -> None:
    messages = [{"role": "user", "content": "Which river?"}, {"role": "assistant", "content": "The Elbe."}]
    examples, findings = checked(tmp_path / "f", {key: [{"messages": messages}] * 3})
    assert examples == [{"messages": messages}] * 3
    assert findings == []


def test_a_system_prompt_beside_the_list_of_examples_is_a_warning(tmp_path: Path) -> None:
    records = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(3)]
    examples, findings = checked(tmp_path / "f", {"system": "Be brief.", "data": records})
    assert len(examples) == 3
    assert [(f.code, f.key, f.severity) for f in findings] == [("column_unused", "system", "warning")]


@pytest.mark.parametrize(
    "turn",
    [
        {"first": "a", "second": "b"}, {"role": "user", "content": "a"}, {"from": "a", "value": "b"},
        {"question": "a", "answer": "b", "score": "c"}, {"question": "a", "q": "b"}, {"answer": "b"},
    ],
)  # fmt: skip
def test_earlier_turns_of_other_keys_are_named(tmp_path: Path, turn: dict[str, str]) -> None:
    record = {"instruction": "And?", "output": "The Oder.", "history": [turn]}
    _, findings = checked(tmp_path / "f", record, record)
    assert [(finding.code, finding.key) for finding in findings] == [("meaningful_key", "history")] * 2


@pytest.mark.parametrize(
    ("turn", "question"),
    [
        ({"instruction": "Translate.", "input": "pear"}, "Translate.\npear"),
        ({"input": "pear", "instruction": "Translate."}, "Translate.\npear"),
        (
            {"question": "Which river?", "context": "The Elbe passes Dresden."},
            "The Elbe passes Dresden.\n\nWhich river?",
        ),
        ({"instruction": "", "input": "pear"}, "pear"),
        ({"instruction": "Translate.", "input": "N/A"}, "Translate."),
    ],
)
def test_all_texts_of_a_question_are_used(tmp_path: Path, turn: dict[str, str], question: str) -> None:
    (example,), findings = checked(tmp_path / "f", {"conversation": [turn | {"output": "Birne"}]})
    assert (role_texts(example), findings) == ([("user", question), ("assistant", "Birne")], [])
    (pair,), findings = checked(tmp_path / "f", turn | {"chosen": "Birne", "rejected": "Pferd"}, method="dpo")
    assert (role_texts(pair["input"]), findings) == ([("user", question)], [])


@pytest.mark.parametrize("other", ["question", "query", "prompt"])
def test_several_questions_are_refused(tmp_path: Path, other: str) -> None:
    questions = {"instruction": "Translate.", other: "Which river?"}
    for record in (
        {"conversation": [questions | {"output": "Birne"}]},
        questions | {"chosen": "Birne", "rejected": "Pferd"},
        {"conversation": [{"question": "Which river?", "answer": "Birne", "output": "Pferd"}]},
    ):
        examples, findings = checked(tmp_path / "f", record, method="dpo" if "chosen" in record else "supervised")
        assert examples == [record]
        assert any(finding.severity == "error" and finding.line == 1 for finding in findings)


@pytest.mark.parametrize("key", ["dialogue", "conversations", "对话"])
@pytest.mark.parametrize("speaker", ["from", "role", "speaker", "角色", "Role"])
@pytest.mark.parametrize("text", ["value", "content", "text", "utterance", "message", "内容", "Content"])
def test_speakers_and_texts_have_many_keys(tmp_path: Path, key: str, speaker: str, text: str) -> None:
    turns = [{speaker: "用户", text: "Hello"}, {speaker: "assistant", text: "Hi"}]
    (example,), findings = checked(tmp_path / "f", {key: turns})
    assert (role_texts(example), findings) == ([("user", "Hello"), ("assistant", "Hi")], [])


@pytest.mark.parametrize(
    "turn", [{"who": "user", "value": "Hello"}, {"from": "user", "words": "Hello"}, {"words": "Hi"}]
)
def test_turns_without_a_known_key_stay(tmp_path: Path, turn: dict[str, str]) -> None:
    record = {"conversations": [turn, {"from": "gpt", "value": "Hi"}]}
    good = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    examples, findings = checked(tmp_path / "f", good, record)
    assert examples[1] == record
    assert [(finding.code, finding.line) for finding in findings] == [("missing_messages_list", 2)]


def looked_up(ids: list[Any], result_ids: list[str | None]) -> dict[str, Any]:
    calls = [{"name": "lookup", "arguments": {}} | ({} if own is None else {"id": own}) for own in ids]
    results = [{"from": "tool", "value": f"of {own}"} | ({"tool_call_id": own} if own else {}) for own in result_ids]
    turns = [{"from": "human", "value": "?"}, {"from": "function_call", "value": json.dumps(calls)}, *results]
    return {"conversations": [*turns, {"from": "gpt", "value": "Done."}]}


@pytest.mark.parametrize("result_ids", list(permutations(["a", "b", "c"])))
def test_results_keep_their_calls(tmp_path: Path, result_ids: tuple[str, ...]) -> None:
    (example,), findings = checked(tmp_path / "f", looked_up(["a", "b", "c"], list(result_ids)))
    messages = example["messages"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["a", "b", "c"]
    assert [(m["tool_call_id"], m["content"]) for m in messages[2:5]] == [(own, f"of {own}") for own in result_ids]
    assert findings == []


@pytest.mark.parametrize("ids", [["a", "a"], [None, None], ["", 1], ["call_2", None], [None, "call_1"]])
def test_calls_without_an_id_of_their_own_get_one(tmp_path: Path, ids: list[Any]) -> None:
    (example,), findings = checked(tmp_path / "f", looked_up(ids, [None, None]))
    messages = example["messages"]
    call_ids = [call["id"] for call in messages[1]["tool_calls"]]
    assert len(set(call_ids)) == 2
    assert [message["tool_call_id"] for message in messages[2:4]] == call_ids
    assert findings == []


ROLES_AND_TEXTS = [
    ("from", "value"), ("role", "text"), ("role", "value"), ("role", "message"), ("Role", "Content"),
    ("from", "content"), ("speaker", "utterance"), ("角色", "内容"),
]  # fmt: skip


@pytest.mark.parametrize("key", ["messages", "Messages"])
@pytest.mark.parametrize(("speaker", "text"), ROLES_AND_TEXTS)
def test_messages_with_other_keys_are_converted(tmp_path: Path, key: str, speaker: str, text: str) -> None:
    record = {key: [{speaker: "human", text: "Hello"}, {speaker: "gpt", text: "Hi", "loss": False}, *DIALOGUE]}
    (example,), findings = checked(tmp_path / "f", record)
    assert role_texts(example)[:2] == [("user", "Hello"), ("assistant", "Hi")]
    assert (example["messages"][1]["weight"], example["messages"][2:], findings) == (0, DIALOGUE, [])


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "Hi", "text": "Hi"}, {"role": "assistant", "content": "Hi", "value": 3},
        {"role": "assistant"}, {"role": "Assistant", "content": "Hi"}, {"role": "assistant", "answer": "Hi"},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f"}}]},
    ],
)  # fmt: skip
def test_other_faults_of_messages_are_left_for_the_check(tmp_path: Path, message: dict[str, Any]) -> None:
    record = {"messages": [DIALOGUE[0], message]}
    assert checked(tmp_path / "f", record)[0] == [record]


def test_calls_as_json_text_are_decoded(tmp_path: Path) -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    turns = [
        DIALOGUE[0], {"role": "assistant", "content": None, "tool_calls": json.dumps(calls)},
        {"role": "tool", "tool_call_id": "a", "content": "1"}, DIALOGUE[1] | {"tool_calls": "null"},
    ]  # fmt: skip
    (example,), findings = checked(tmp_path / "f", {"messages": turns})
    assert example["messages"][1]["tool_calls"] == calls
    assert findings == []


DIALOGUE = [{"role": "user", "content": "Which river?"}, {"role": "assistant", "content": "The Elbe."}]
SHAREGPT = [{"from": "human", "value": "Which river?"}, {"from": "gpt", "value": "The Elbe."}]
PAIR = {"messages": DIALOGUE[:1]}, DIALOGUE[1:], [{"role": "assistant", "content": "The Po."}]
COLUMNS: list[dict[str, Any]] = [
    {"id": "1", "conversations": SHAREGPT},
    {"conversations": SHAREGPT},
    {"id": "1", "Conversations": SHAREGPT},
    {"id": "1", "conversation": [{"human": "Which river?", "assistant": "The Elbe."}]},
    {"id": "1", "messages": SHAREGPT},
    {"messages": SHAREGPT},
    {"messages": DIALOGUE},
    {"id": "1", "messages": DIALOGUE},
    {"prompt": DIALOGUE[:1], "response": "The Elbe."},
    {"prompt": DIALOGUE[:1], "completion": "The Elbe."},
    {"prompt": SHAREGPT[:1], "completion": SHAREGPT[1:]},
]
PAIRS: list[dict[str, Any]] = [
    {"prompt": SHAREGPT[:1], "chosen": "The Elbe.", "rejected": "The Po."},
    {"messages": DIALOGUE[:1], "chosen": DIALOGUE[1:], "rejected": PAIR[2]},
]


@pytest.mark.parametrize("record", COLUMNS + PAIRS)
def test_columns_may_hold_turns_as_json_text(tmp_path: Path, record: dict[str, Any]) -> None:
    texts = {key: json.dumps(value) if isinstance(value, list) else value for key, value in record.items()}
    path = tmp_path / "f.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(texts))
        writer.writeheader()
        writer.writerows([texts, texts])
    expected = dict(zip(("input", "preferred_output", "non_preferred_output"), PAIR, strict=True))
    with prepared(path) as prepared_file:
        examples = [json.loads(line) for line in prepared_file.path.read_bytes().splitlines()]
    assert examples == [expected if "rejected" in record else {"messages": DIALOGUE}] * 2
    if record.keys() & {"prompt", "conversations", "Conversations", "conversation"}:
        assert checked(tmp_path / "f.jsonl", texts, texts)[0] == examples


def test_an_answer_in_json_stays_text(tmp_path: Path) -> None:
    answer = json.dumps(SHAREGPT)
    (example,), findings = checked(tmp_path / "f", {"question": "Write a dialogue.", "answer": answer})
    assert (role_texts(example), findings) == ([("user", "Write a dialogue."), ("assistant", answer)], [])
