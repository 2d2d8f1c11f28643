"""Repairs of messages: no text or digit is lost, flags keep their meaning, preference pairs are repaired as well."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_repair import ANSWER, GOOD, USE, USER, called, line, repaired

from luthier.data.check.structure import check_example
from property_examples import example_count


@pytest.mark.parametrize(
    ("flag", "weight"),
    [
        ({"is_train": False}, 0), ({"compute_loss": True}, 1), ({"learn": 0}, 0), ({"skip": True}, 0),
        ({"skip_loss": "yes"}, 0), ({"trainOnTurn": 1}, 1), ({"是否训练": "否"}, 0),
    ],
)  # fmt: skip
def test_a_clear_flag_of_the_loss_becomes_a_weight(tmp_path: Path, flag: dict[str, Any], weight: int) -> None:
    turns = [USER, ANSWER | flag, USER | {key: False for key in flag if weight}, ANSWER]
    out, rejects, repairs = repaired(tmp_path / "file", line({"messages": turns}).encode())
    assert (json.loads(out), rejects) == ({"messages": [USER, ANSWER | {"weight": weight}, USER, ANSWER]}, [])
    assert repairs.counts == {"loss_key": 1}


@pytest.mark.parametrize(
    "example",
    [
        {"messages": [USER | {"loss": True}, ANSWER]},
        {"messages": [USER, ANSWER | {"mask": 1}]},
        {"messages": [USER, ANSWER | {"is_masked": True}]},
        {"messages": [USER, ANSWER | {"loss": True, "weight": 0}, USER, ANSWER]},
        {"messages": [USER, ANSWER | {"rationale": "It pays."}]},
        {"messages": [USER, ANSWER | {"cot": "It pays.", "reasoning_content": "It is lent."}]},
        {"messages": [USER | {"system": "Be brief."}, ANSWER]},
        {"messages": [USER, ANSWER], "cot": "It pays."},
        {"messages": [USER, ANSWER], "system": "Be brief.", "persona": "A banker."},
        {"messages": [{"role": "system", "content": "Be brief."}, USER, ANSWER], "persona": "A banker."},
        {"messages": [USER, ANSWER], "loss": False},
    ],
)
def test_a_repair_is_promised_only_where_it_is_made(tmp_path: Path, example: Any) -> None:
    out, (reject,), _ = repaired(tmp_path / "file", line(example).encode())
    assert out == b""
    assert {reason["code"] for reason in reject["reasons"]} <= {"loss_key", "reasoning_key", "system_key"}
    assert not [reason for reason in reject["reasons"] if "--fix" in reason["remedy"]]


@pytest.mark.parametrize(
    "example",
    [
        {"messages": [USER, ANSWER | {"loss": True}]},
        {"messages": [USER | {"loss": False}, ANSWER]},
        {"messages": [USER, ANSWER | {"cot": "It pays."}]},
        {"messages": [USER, ANSWER], "system": "Be brief."},
    ],
)
def test_a_repair_that_is_made_is_promised(tmp_path: Path, example: Any) -> None:
    (finding,) = check_example(example)
    assert "--fix" in finding.remedy("en")
    assert "--fix" in finding.remedy("zh")
    assert not repaired(tmp_path / "file", line(example).encode())[1]


PAIR = {
    "input": {"messages": [USER]},
    "preferred_output": [ANSWER],
    "non_preferred_output": [{**ANSWER, "content": "-"}],
}


@pytest.mark.parametrize(
    ("faulty", "repaired_message", "code"),
    [
        ({"role": "User", "content": "Hi"}, {"role": "user", "content": "Hi"}, "unrecognized_role"),
        ({"role": "AI", "content": "Hi"}, {"role": "assistant", "content": "Hi"}, "unrecognized_role"),
        ({"role": "assistant", "content": 7}, {"role": "assistant", "content": "7"}, "content_type"),
        (
            {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
            "content_type",
        ),
        (
            {"role": "system", "content": {"type": "text", "text": "Hi"}},
            {"role": "system", "content": "Hi"},
            "content_type",
        ),
        (
            {"role": "assistant", "content": "Hi", "id": 7},
            {"role": "assistant", "content": "Hi"},
            "message_unrecognized_key",
        ),
        (
            {"role": "assistant", "content": "Hi", "thinking": "Hm"},
            {"role": "assistant", "content": "Hi", "reasoning_content": "Hm"},
            "reasoning_key",
        ),
        (
            {"role": "assistant", "function_call": {"name": "weather", "arguments": {}}},
            {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}},
            "arguments_not_json",
        ),
    ],
)  # fmt: skip
def test_messages_of_preference_pairs_are_repaired(
    tmp_path: Path, faulty: Any, repaired_message: Any, code: str
) -> None:
    cases = [(PAIR | {"input": {"messages": [faulty, USER]}}, PAIR | {"input": {"messages": [repaired_message, USER]}})]
    if repaired_message["role"] == "assistant":
        for name in ("preferred_output", "non_preferred_output"):
            cases.append((PAIR | {name: [faulty]}, PAIR | {name: [repaired_message]}))
    for pair, meant in cases:
        out, rejects, repairs = repaired(tmp_path / "f", line(pair).encode(), method="dpo")
        assert ([json.loads(entry) for entry in out.splitlines()], rejects) == ([meant], [])
        assert repairs.counts == {code: 1}


@pytest.mark.parametrize(
    ("faulty", "code"),
    [
        (line(PAIR | {"preferred_output": ANSWER}), "preference_invalid"),
        (line(PAIR)[:-1] + ', "margin": NaN}', "number_invalid"),
        (line(PAIR | {"input": {"messages": [USER], "tools": "[]"}}), "definition_invalid"),
        (line(PAIR | {"input": {"messages": json.dumps([USER])}}), "missing_messages_list"),
    ],
)
def test_preference_pairs_are_repaired_as_a_whole(tmp_path: Path, faulty: str, code: str) -> None:
    out, rejects, repairs = repaired(tmp_path / "f", faulty.encode(), method="dpo")
    assert (repairs.counts, rejects) == ({code: 1}, [])
    assert (json.loads(out) | {"input": PAIR["input"]}).items() >= PAIR.items()


def test_a_system_prompt_beside_the_input_messages_of_a_pair_is_moved(tmp_path: Path) -> None:
    pair = PAIR | {"input": {"messages": [USER], "system": "Be brief."}}
    out, _, _ = repaired(tmp_path / "f", line(pair).encode(), method="dpo")
    assert json.loads(out)["input"] == {"messages": [{"role": "system", "content": "Be brief."}, USER]}


NUMBERS = ["1.10", "12345678901234567890.5", "1234567890.12345678901", "1e3", "-0.0", "0.1000"]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_keep_their_digits(tmp_path: Path, number: str) -> None:
    as_content = line({"messages": [USER, ANSWER | {"content": "N"}]}).replace('"N"', number)
    assert json.loads(repaired(tmp_path / "f", as_content.encode())[0])["messages"][1]["content"] == number
    arguments = f'{{"n": [{number}]}}'
    for text in (
        line(called("N")).replace('"N"', arguments),
        line(called("N"))[:-1].replace('"N"', arguments) + ",}",
        line(called("N")).replace('"N"', arguments).replace('"role": "user"', '"role": "user", "role": "user"'),
        line(called("N")).replace('"N"', arguments)[:-1] + ', "id": NaN}',
        line({"messages": json.dumps(called("N")["messages"]).replace('"N"', arguments)}),
    ):
        out, _, _ = repaired(tmp_path / "f", text.encode())
        assert json.loads(out)["messages"][1]["function_call"]["arguments"] == arguments
    used = {"messages": [USER, {"role": "assistant", "content": [USE | {"input": {"n": "N"}}]}]}
    out, _, _ = repaired(tmp_path / "f", line(used).replace('"N"', number).encode())
    assert json.loads(out)["messages"][1]["tool_calls"][0]["function"]["arguments"] == f'{{"n": {number}}}'


@pytest.mark.parametrize("number", ["1.10", "12345678901234567890.5", "1_000", "0x1F"])
def test_numbers_that_print_does_not_write_are_not_read_as_its_output(tmp_path: Path, number: str) -> None:
    text = str({"messages": [USER, ANSWER | {"content": "N"}]}).replace("'N'", number)
    out, (reject,), _ = repaired(tmp_path / "f", text.encode())
    assert (out, reject["text"]) == (b"", text)


@pytest.mark.parametrize("text", [line(GOOD) + "  # wrong, ask Ann", str(GOOD) + " # wrong, ask Ann"])
def test_a_comment_is_not_dropped(tmp_path: Path, text: str) -> None:
    out, (reject,), repairs = repaired(tmp_path / "f", text.encode(), guess=True)
    assert (out, reject["text"], repairs.listed) == (b"", text, [])


def test_messages_in_text_with_equal_keys_lose_none(tmp_path: Path) -> None:
    for text in (line([USER, ANSWER]), str([USER, ANSWER])):
        double = text.replace("content", "content': 'a', 'content" if "'" in text else 'content": "a", "content')
        out, (reject,), _ = repaired(tmp_path / "f", line({"messages": double}).encode())
        assert (out, json.loads(reject["text"])) == (b"", {"messages": double})


@pytest.mark.parametrize(
    "text", ['{"messages":' + "[{" * 40_000, '{"messages":' + "[{" * 50 + "x" * 200_000, "[" * 60_000 + "{'a': 1"]
)
def test_deep_nesting_takes_no_time(tmp_path: Path, text: str) -> None:
    start = time.process_time()
    _, rejects, _ = repaired(tmp_path / "f", text.encode())
    assert len(rejects) == 1
    assert time.process_time() - start < 2


TEXT = "The Elbe rises in the Giant Mountains and is 1,094 km long."
TEXTS = [TEXT, [TEXT], {"text": TEXT}, "易北河发源于捷克的巨人山脉"]


@pytest.mark.parametrize(
    "key",
    [
        "source",
        "topic",
        "title",
        "metadata",
        "meta",
        "tags",
        "language",
        "category",
        "id",
        "url",
        "type",
        "来源",
        "主题",
    ],
)
@pytest.mark.parametrize("value", TEXTS)
def test_a_key_of_a_message_is_not_dropped_with_its_text(tmp_path: Path, key: str, value: Any) -> None:
    text = line({"messages": [USER | {key: value}, ANSWER]})
    out, (reject,), _ = repaired(tmp_path / "file", text.encode())
    assert (out, reject["text"]) == (b"", text)


texts = st.lists(st.text(alphabet="abcdé易", min_size=2, max_size=9), min_size=2, max_size=9).map(" ".join)
names = st.sampled_from(["id", "source", "topic", "meta", "lang", "name", "loss", "keep", "cot", "history", "time"])


@given(
    extra=st.dictionaries(
        names | st.text(max_size=8), texts | st.lists(texts, min_size=1) | texts.map(lambda t: {"id": t})
    )
)
@settings(max_examples=example_count(100))
def test_no_text_of_a_message_is_lost(tmp_path: Path, extra: dict[str, Any]) -> None:
    out, rejects, _ = repaired(tmp_path / "file", line({"messages": [USER, ANSWER | extra | ANSWER]}).encode())
    written = out.decode() + "".join(reject["text"] for reject in rejects)
    assert all(json.dumps(value, ensure_ascii=False) in written for key, value in extra.items() if key not in ANSWER)


@pytest.mark.parametrize(
    "extra",
    [
        {"metadata": {"style": "ironic"}}, {"language": "French"}, {"topic": "piracy"}, {"difficulty": "easy"},
        {"meta": {"loss": 0}}, {"meta": {"id": 3, "score": 1}}, {"tags": ["7", "rhymed"]}, {"length": "short"},
    ],
)  # fmt: skip
def test_a_word_that_an_answer_may_depend_on_is_not_dropped(tmp_path: Path, extra: dict[str, Any]) -> None:
    out, rejects, _ = repaired(tmp_path / "file", line({"messages": [USER | extra, ANSWER]}).encode())
    assert (out, len(rejects)) == (b"", 1)


@pytest.mark.parametrize(
    "extra",
    [
        {"id": "msg_01"}, {"source": "web"}, {"timestamp": "2024-05-01T10:00:00Z"}, {"date": "2024年5月1日"},
        {"time": "2024-05-01 10:00:00"}, {"lang": "zh-CN"}, {"topic": 3}, {"meta": {"id": "a-7", "lang": "en", "n": 2}},
        {"tags": ["t1", "t2"]}, {"url": "https://example.org/a?b=1"}, {"category": None}, {"language": "fr"},
        {"来源": "百科"}, {"编号": "7"},
    ],
)  # fmt: skip
def test_numbers_times_and_identifiers_are_dropped_from_messages(tmp_path: Path, extra: dict[str, Any]) -> None:
    out, rejects, repairs = repaired(tmp_path / "file", line({"messages": [USER | extra, ANSWER | {"id": 1}]}).encode())
    assert (json.loads(out), rejects, repairs.counts) == (GOOD, [], {"message_unrecognized_key": 1})


@pytest.mark.parametrize("flag", [{"is_train": False}, {"trainable": "no"}, {"skip": True}, {"不训练": 1}])
def test_an_example_whose_only_answer_is_not_trained_is_rejected_as_its_remedy_says(
    tmp_path: Path, flag: dict[str, Any]
) -> None:
    example = {"messages": [USER, ANSWER | {"weight": 0}, USER, ANSWER | flag]}
    (finding,) = check_example(example)
    assert (finding.code, finding.detail) == ("loss_key", "nothing trainable")
    assert "--fix moves it to the rejects" in finding.remedy("en")
    assert "--fix 会把它移到被拒绝的行里" in finding.remedy("zh")
    out, (reject,), _ = repaired(tmp_path / "file", line(example).encode())
    assert (out, reject["text"]) == (b"", line(example))
    assert [reason["code"] for reason in reject["reasons"]] == ["loss_key", "nothing_trainable"]


def test_an_unused_long_text_is_not_called_superfluous() -> None:
    for beside in (GOOD, {"prompt": "a", "completion": "b"}):
        for value, detail in ((TEXT + " " + TEXT, "text"), ("web", ""), ("https://example.org/" + "a" * 60, "")):
            (finding,) = check_example(beside | {"source": value})
            assert (finding.code, finding.detail, finding.severity) == ("unrecognized_key", detail, "warning")
