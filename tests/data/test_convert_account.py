"""Nothing is thrown away in silence: every key of a foreign object is used, noted, or an error on its line."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check.file_check import check_file
from luthier.data.convert import Hints, prepared
from luthier.data.findings import Finding, FindingError, Report
from luthier.data.repair import repair_file
from property_examples import example_count

CALL = {"name": "lookup", "arguments": {"isbn": "978"}}
DEFINITION = {"name": "lookup", "parameters": {"type": "object", "properties": {"isbn": {"type": "string"}}}}


def checked(path: Path, *records: Any, method: str = "supervised", **hints: str) -> tuple[list[Any], list[Finding]]:
    """The converted lines, and all findings on them."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    with prepared(path, Hints(**hints)) as file:
        report = Report()
        for note in file.notes:
            report.add(note)
        check_file(file.path, minimum_examples=1, method=method, report=report)
        return [json.loads(line) for line in file.path.read_bytes().splitlines()], report.findings


def codes(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.code, finding.severity) for finding in findings} - {("converted_from", "note")}


def repaired(path: Path, hints: Hints | None = None) -> tuple[list[Any], list[Any]]:
    out, rejects = io.BytesIO(), io.BytesIO()
    with prepared(path, hints) as file:
        repair_file(file.path, out, rejects)
    return [json.loads(line) for line in out.getvalue().splitlines()], [
        json.loads(line) for line in rejects.getvalue().splitlines()
    ]


def said(example: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(message["role"], message.get("content")) for message in example["messages"]]


@pytest.mark.parametrize(
    ("record", "question"),
    [
        ({"instruction": "Name the river.", "passage": "The Elbe passes Dresden.", "answer": "Elbe"}, None),
        ({"question": "Which river?", "background": "The Elbe passes Dresden.", "answer": "Elbe"}, None),
        ({"问题": "哪条河？", "材料": "易北河流经德累斯顿。", "答案": "易北河"}, None),
        ({"prompt": "Name the river.", "document": "The Elbe passes Dresden.", "reply": "Elbe"}, None),
    ],
)
def test_a_context_becomes_part_of_the_question(tmp_path: Path, record: dict[str, str], question: None) -> None:
    ((example,), findings) = checked(tmp_path / "f", record)
    (_, text), (_, answer) = said(example)
    *parts, last = record.values()
    assert answer == last
    assert all(part in text for part in parts)
    assert codes(findings) == set()


@pytest.mark.parametrize("missing", ["nan", "None", "N/A", "NULL", " ", "\u3000", "#N/A", "[]", None])
@pytest.mark.parametrize("key", ["context", "材料", "system", "system_prompt", "history"])
@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "Who?", "input": "N/A", "output": "Me."},
        {"question": "Who?", "answer": "Me."},
        {"question": "Who?", "input": "nan", "chosen": "Me.", "rejected": "You."},
    ],
)
def test_missing_values_are_not_written(tmp_path: Path, record: dict[str, Any], key: str, missing: Any) -> None:
    (example,), findings = checked(
        tmp_path / "f", record | {key: missing}, method="dpo" if "rejected" in record else "supervised"
    )
    assert said(example.get("input", example))[0] == ("user", "Who?")
    assert codes(findings) == set()


def test_the_first_filled_system_prompt_is_used(tmp_path: Path) -> None:
    record = {"system": "nan", "system_prompt": "Be brief.", "question": "Who?", "answer": "Me."}
    (example,), _ = checked(tmp_path / "f", record)
    assert said(example)[0] == ("system", "Be brief.")


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ({"score": 2}, "meaningful_key"),
        ({"评分": "1"}, "meaningful_key"),
        ({"kto_tag": "false"}, "preference_key"),
        ({"label": False}, "preference_key"),
        ({"is_good": 0}, "preference_key"),
        ({"image_path": "a.png"}, "not_text"),
        ({"chain_of_thought": "First I look."}, "reasoning_key"),
        ({"retrieved": ["a", "b"]}, "meaningful_key"),
        ({"history": ["no pair"]}, "meaningful_key"),
        ({"choices": ["a", "b"]}, "meaningful_key"),
        ({"选项": "A. 是 B. 否"}, "meaningful_key"),
        ({"loss": False}, "loss_key"),
        ({"is_train": False}, "loss_key"),
        ({"is_valid": False}, "preference_key"),
        ({"keep": False}, "preference_key"),
        ({"status": "rejected"}, "preference_key"),
        ({"like": -1}, "preference_key"),
        ({"是否有用": "否"}, "preference_key"),
        ({"rejected_answer": "You."}, "preference_key"),
        ({"wrong_answer": "You."}, "preference_key"),
        ({"chat_history": [["Hi", "Hello"]]}, "meaningful_key"),
        ({"文档": "易北河流经德累斯顿。"}, "meaningful_key"),
    ],
)
@pytest.mark.parametrize(
    "record",
    [
        {"question": "Who?", "answer": "Me."},
        {"instruction": "Who?", "input": "", "output": "Me."},
        {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]},
        {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]},
    ],
)
def test_a_key_that_decides_the_meaning_is_an_error(tmp_path: Path, record: Any, extra: Any, code: str) -> None:
    _, findings = checked(tmp_path / "f", record | extra)
    assert (code, "error") in codes(findings)
    assert all(finding.line == 1 for finding in findings if finding.severity == "error")
    _, rejects = repaired(tmp_path / "f")
    assert json.loads(rejects[0]["text"]).items() >= extra.items()


@given(
    extra=st.dictionaries(
        st.text(alphabet="abcdxyz_", min_size=3, max_size=8).map(lambda name: f"x{name}")
        | st.sampled_from(
            [
                "id",
                "source",
                "score",
                "context",
                "rejected_by",
                "loss",
                "images",
                "notes",
                "history",
                "chat_history",
                "wrong_answer",
                "skip",
                "status",
            ]
        ),
        st.none()
        | st.booleans()
        | st.integers(-5, 5)
        | st.text(max_size=20)
        | st.lists(st.text(min_size=1, max_size=5), max_size=2)
        | st.just("a long remark that says what the answer depends on, in several words"),
        max_size=4,
    ),
    record=st.sampled_from(
        [
            {"question": "Who?", "answer": "Me."},
            {"instruction": "Who?", "input": "", "output": "Me."},
            {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]},
            {"conversation": [{"human": "Who?", "assistant": "Me."}]},
            {"prompt": "Who?", "chosen": "Me.", "rejected": "You."},
        ]
    ),
)
@settings(max_examples=example_count(150))
def test_no_key_is_unaccounted_for(tmp_path: Path, extra: dict[str, Any], record: dict[str, Any]) -> None:
    (example,), findings = checked(
        tmp_path / "f", record | extra, method="dpo" if "rejected" in record else "supervised"
    )
    written = json.dumps(example, ensure_ascii=False)
    named = {finding.key for finding in findings}
    for key, value in extra.items():
        is_empty = str(value).strip().lower() in ("", "[]", "{}", "null", "none", "nan", "n/a", "#n/a")
        is_used = isinstance(value, str) and json.dumps(value, ensure_ascii=False)[1:-1] in written
        assert is_empty or key in named or is_used, (key, value)


@pytest.mark.parametrize("key", ["source", "title", "topic", "metadata", "notes"])
def test_an_unused_key_of_long_texts_is_a_warning_whatever_its_name(tmp_path: Path, key: str) -> None:
    text = "The Elbe rises in the Giant Mountains, passes Dresden and Hamburg, and ends in the North Sea."
    record = {"question": "Translate.", "answer": "Die Elbe …", key: {"text": text} if key == "metadata" else text}
    assert codes(checked(tmp_path / "f", record)[1]) == {("column_unused", "warning")}
    assert codes(
        checked(tmp_path / "f", record | {key: "https://example.org/" + "a" * 60 if key == "source" else 7})[1]
    ) == {("column_unused", "note")}


@pytest.mark.parametrize("key", ["dialog", "dialogue", "chat", "turns", "对话"])
@pytest.mark.parametrize("turn", [("from", "value"), ("role", "content")])
def test_turns_are_read_under_any_of_their_names(tmp_path: Path, key: str, turn: tuple[str, str]) -> None:
    speaker, text = turn
    turns = [
        {speaker: "user", text: "Hi"}, {speaker: "assistant", text: "Hello", "ignore": True},
        {speaker: "user", text: "Who?"}, {speaker: "assistant", text: "Me."},
    ]  # fmt: skip
    (example,), findings = checked(tmp_path / "f", {key: turns})
    assert [message["content"] for message in example["messages"]] == ["Hi", "Hello", "Who?", "Me."]
    assert example["messages"][1]["weight"] == 0
    assert codes(findings) == set()


@pytest.mark.parametrize("record", [{"text": "Good soup.", "label": 1}, {"source": "pear", "target": "Birne"}])
def test_other_keys_are_named_by_flags(tmp_path: Path, record: dict[str, Any]) -> None:
    _, findings = checked(tmp_path / "f", record)
    assert findings[0].code == "unexpected_format"
    assert "--question" in findings[0].remedy("en")
    assert "--question" in findings[0].remedy("zh")
    question, answer = record
    with prepared(tmp_path / "f", Hints(question=question, answer=answer)) as file:
        assert said(json.loads(file.path.read_text())) == [("user", record[question]), ("assistant", record[answer])]


def test_flags_do_not_lose_the_other_columns(tmp_path: Path) -> None:
    record = {"frage": "Übersetze.", "input": "pear", "antwort": "Birne", "note": "n"}
    (example,), findings = checked(tmp_path / "f", record, question="frage", answer="antwort")
    assert said(example) == [("user", "Übersetze.\npear"), ("assistant", "Birne")]
    assert [finding.key for finding in findings if finding.code == "column_unused"] == ["note"]


def test_calls_in_a_row_are_one_message_with_their_results(tmp_path: Path) -> None:
    turns = [
        {"from": "human", "value": "Two books?"},
        {"from": "gpt", "value": "I look them up."},
        *({"from": "function_call", "value": json.dumps({"name": "lookup", "parameters": {"isbn": n}})} for n in "12"),
        *({"from": "observation", "value": text} for text in ("Emma", "Ulysses")),
        {"from": "gpt", "value": "Emma and Ulysses.", "loss": False, "id": 4},
    ]
    (example,), findings = checked(tmp_path / "f", {"conversations": turns, "tools": json.dumps([DEFINITION])})
    messages = example["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "assistant"]
    assert messages[1]["content"] == "I look them up."
    calls = messages[1]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"isbn": "1"}, {"isbn": "2"}]
    assert [message["tool_call_id"] for message in messages[2:4]] == [call["id"] for call in calls]
    assert messages[4]["weight"] == 0
    assert codes(findings) == {("column_unused", "note")}


@pytest.mark.parametrize(
    ("turn", "code"),
    [
        ({"from": "chorus", "value": "la"}, "unrecognized_role"),
        ({"from": "function_call", "value": "lookup(978)"}, "call_invalid"),
        ({"from": "function_call", "value": json.dumps(CALL | {"when": "now"})}, "call_invalid"),
        ({"from": "gpt", "value": None}, "missing_content"),
        ({"from": "gpt", "value": 5}, "content_type"),
        ({"from": "gpt", "value": "x", "thinking": "Hm."}, "reasoning_key"),
    ],
)
def test_a_turn_that_cannot_be_read_is_named(tmp_path: Path, turn: dict[str, Any], code: str) -> None:
    good = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    bad = {"conversations": [{"from": "human", "value": "a"}, turn, {"from": "gpt", "value": "b"}]}
    _, findings = checked(tmp_path / "f", good, bad, good)
    assert {(f.code, f.line, f.message_index) for f in findings if f.severity == "error"} == {(code, 2, 1)}


def test_definitions_in_words_are_named(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    _, findings = checked(tmp_path / "f", {"conversations": turns, "tools": "a dictionary"})
    assert [(f.code, f.key) for f in findings if f.severity == "error"] == [("definition_invalid", "tools")]


PROMPT = [{"role": "user", "content": "Best fruit?"}]
GOOD, BAD = [{"role": "assistant", "content": "Pear."}], [{"role": "assistant", "content": "Stone."}]


@pytest.mark.parametrize(
    "record",
    [
        {"question": "Best fruit?", "chosen": "Pear.", "rejected": "Stone."},
        {"instruction": "Best fruit?", "input": "", "chosen_response": "Pear.", "rejected_response": "Stone."},
        {"prompt": PROMPT, "chosen": GOOD, "rejected": BAD},
        {"chosen": PROMPT + GOOD, "rejected": PROMPT + BAD},
        {"prompt": "Best fruit?", "chosen": PROMPT + GOOD, "rejected": PROMPT + BAD},
        {"chosen": json.dumps(PROMPT + GOOD), "rejected": json.dumps({"messages": PROMPT + BAD})},
        {
            "chosen": "\n\nHuman: Best fruit?\n\nAssistant: Pear.",
            "rejected": "\n\nHuman: Best fruit?\n\nAssistant: Stone.",
        },
        {"prompt": "Best fruit?", "chosen": "Pear.", "rejected": "Stone.", "history": []},
        {"messages": PROMPT + GOOD, "rejected": BAD[0]},
        {"messages": PROMPT, "chosen": GOOD[0], "rejected": BAD[0]},
        {
            "conversations": [{"from": "human", "value": "Best fruit?"}],
            "chosen": {"from": "gpt", "value": "Pear."},
            "rejected": {"from": "gpt", "value": "Stone."},
        },
    ],
)
def test_preferences_in_other_forms(tmp_path: Path, record: dict[str, Any]) -> None:
    (pair,), findings = checked(tmp_path / "f", record, method="dpo")
    assert pair == {"input": {"messages": PROMPT}, "preferred_output": GOOD, "non_preferred_output": BAD}
    assert codes(findings) == set()
    assert ("method_mismatch", "error") in codes(checked(tmp_path / "f", record)[1])


def test_preferences_whose_sides_do_not_fit_are_refused(tmp_path: Path) -> None:
    other = [{"role": "user", "content": "Worst fruit?"}]
    _, findings = checked(tmp_path / "f", {"chosen": PROMPT + GOOD, "rejected": other + BAD}, method="dpo")
    assert codes(findings) == {("unexpected_format", "error"), ("preference_invalid", "error")}


@pytest.mark.parametrize(
    "content",
    [
        {"examples": [{"messages": PROMPT + GOOD}], "license": "CC0"},
        {"prompt": PROMPT, "completion": GOOD},
        {"conversation": [{"question": "Best fruit?", "answer": "Pear."}]},
        {"query": {"0": "Best fruit?"}, "response": {"0": "Pear."}},
        {"columns": ["query", "response"], "data": [["Best fruit?", "Pear."]], "index": [0]},
    ],
)
def test_other_wrappings(tmp_path: Path, content: dict[str, Any]) -> None:
    assert checked(tmp_path / "f", content)[0] == [{"messages": PROMPT + GOOD}]


def test_items_of_the_responses_api_are_no_questions(tmp_path: Path) -> None:
    record = {"input": PROMPT, "output": [{"type": "message", "content": []}]}
    _, findings = checked(tmp_path / "f", record)
    assert codes(findings) == {("unexpected_format", "error"), ("missing_messages_list", "error")}


TOOLS = [{"type": "function", "function": {"name": "quote", "parameters": {"type": "object", "properties": {}}}}]
PROMPT_WITH_TOOLS = f"Call functions. <tools> {json.dumps(TOOLS)} </tools> Write <tool_call> around a call."


def called(text: str, result: str) -> dict[str, Any]:
    """A conversation in Hermes's form."""
    turns = [
        ("system", PROMPT_WITH_TOOLS),
        ("human", "Quotes?"),
        ("gpt", text),
        ("tool", result),
        ("gpt", "They rise."),
    ]
    return {"conversations": [{"from": speaker, "value": value} for speaker, value in turns]}


def test_calls_as_text_become_calls(tmp_path: Path) -> None:
    call = '<tool_call>\n{"arguments": {"share": "A"}, "name": "quote"}\n</tool_call>'
    other_call = call.replace('"A"', '"B"')
    results = '<tool_response>\n{"price": 1}\n</tool_response>\n<tool_response>2</tool_response>'
    (example,), findings = checked(tmp_path / "f", called(f"I look.\n{call}\n{other_call}", results))
    assert example["tools"] == TOOLS
    system, _, calls, first, second, answer = example["messages"]
    assert system["content"] == "Call functions.  Write <tool_call> around a call."
    assert calls["content"] == "I look."
    assert [entry["function"]["arguments"] for entry in calls["tool_calls"]] == ['{"share": "A"}', '{"share": "B"}']
    assert [(entry["tool_call_id"], entry["content"]) for entry in (first, second)] == [
        ("call_1", '{"price": 1}'), ("call_2", "2"),
    ]  # fmt: skip
    assert answer["content"] == "They rise."
    assert not {code for code, severity in codes(findings) if severity == "error"}


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>{'name': 'quote'}</tool_call>",
        '<tool_call>{"name": "quote", "arguments": {}}',
        "<tool_call></tool_call>",
        '<tool_call>{"name": "quote", "arguments": {}, "why": "x"}</tool_call>',
    ],
)
def test_calls_as_text_that_cannot_be_read_stay_text(tmp_path: Path, text: str) -> None:
    (example,), _ = checked(tmp_path / "f", called(text, "1"))
    assert [message["content"] for message in example["messages"][:3]] == [PROMPT_WITH_TOOLS, "Quotes?", text]
    assert "tools" not in example


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "a", "loss": 0}, {"content": "a", "weight": 0}),
        ({"content": "a", "trainable": "true"}, {"content": "a", "weight": 1}),
        ({"content": "a", "ignore": True}, {"content": "a", "weight": 0}),
        ({"content": "a", "no_train": "0"}, {"content": "a", "weight": 1}),
        ({"content": "a", "is_target": False, "id": 3}, {"content": "a", "weight": 0}),
        ({"content": None, "refusal": "No."}, {"content": "No."}),
        (
            {"content": [{"type": "output_text", "text": "a", "annotations": []}]},
            {"content": [{"type": "text", "text": "a"}]},
        ),
        ({"content": "a", "prefix": True}, {"content": "a"}),
        ({"content": "a", "Thinking": "Hm."}, {"content": "a", "reasoning_content": "Hm."}),
    ],
)
def test_repairs_keep_what_is_trained(tmp_path: Path, message: dict[str, Any], expected: dict[str, Any]) -> None:
    checked(tmp_path / "f", {"messages": [*PROMPT, {"role": "assistant"} | message, *GOOD]})
    ((example,), rejects) = repaired(tmp_path / "f")
    assert (example["messages"][1], rejects) == ({"role": "assistant"} | expected, [])


@pytest.mark.parametrize(
    "extra",
    [
        {"analysis": "Hm."}, {"comment": "very good"}, {"mask": 1}, {"loss_mask": 0.5},
        {"loss": True, "weight": 0}, {"rating": 1}, {"images": ["a.png"]}, {"loss_weight": 0.5}, {"masked": True},
        {"ignore": True, "weight": 1}, {"flagged": True}, {"unlearn": False}, {"w": 0},
    ],
)  # fmt: skip
def test_repairs_delete_no_text_and_no_flag(tmp_path: Path, extra: dict[str, Any]) -> None:
    checked(tmp_path / "f", {"messages": [*PROMPT, GOOD[0] | extra]})
    examples, rejects = repaired(tmp_path / "f")
    assert (examples, len(rejects)) == ([], 1)


@pytest.mark.parametrize("key", ["final", "analysis", "context", "加工"])
def test_a_copy_of_what_a_message_holds_is_no_loss(tmp_path: Path, key: str) -> None:
    _, findings = checked(tmp_path / "f", {key: GOOD[0]["content"], "messages": PROMPT + GOOD})
    assert codes(findings) == set()
    _, findings = checked(tmp_path / "f", {key: GOOD[0]["content"][1:] + "x", "messages": PROMPT + GOOD})
    assert codes(findings) != set()


def test_a_system_prompt_beside_the_messages_becomes_one(tmp_path: Path) -> None:
    _, findings = checked(tmp_path / "f", {"system": "Be brief.", "messages": PROMPT + GOOD})
    assert codes(findings) == {("system_key", "error")}
    ((example,), _) = repaired(tmp_path / "f")
    assert example["messages"][0] == {"role": "system", "content": "Be brief."}


@given(text=st.text(alphabet='ab\\"nftusx0 {}:,', max_size=30))
@settings(max_examples=example_count(300))
def test_no_repair_and_no_guess_loses_a_letter(tmp_path: Path, text: str) -> None:
    path = tmp_path / "f"
    line = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "' + text + '"}]}'
    path.write_text(line + "\n")
    out, rejects = io.BytesIO(), io.BytesIO()
    try:
        repair_file(path, out, rejects, guess=True)
    except FindingError:
        return
    if not rejects.getvalue():
        after = out.getvalue().decode()
        assert all(after.count(letter) >= line.count(letter) for letter in "abx")
