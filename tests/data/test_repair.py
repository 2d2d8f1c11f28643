"""Repairs: what is certain, nothing else; nothing dropped; the second time changes nothing."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check.file_check import check_file
from luthier.data.check.structure import check_example
from luthier.data.findings import FindingError
from luthier.data.repair import Repairs, repair_file
from property_examples import example_count

USER = {"role": "user", "content": "What is a bond?"}
ANSWER = {"role": "assistant", "content": "A loan."}
GOOD = {"messages": [USER, ANSWER]}
CALL = {"name": "weather", "arguments": '{"city": "Rome"}'}
THOUGHT = {"type": "thinking", "thinking": "A bond?", "signature": "c2ln"}
USE = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}
USED = {"id": "t1", "type": "function", "function": CALL}
RESULTS = [
    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "21"}]},
    {"type": "text", "text": "And now?"},
]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def called(arguments: Any) -> dict[str, Any]:
    return {"messages": [USER, {"role": "assistant", "function_call": {"name": "weather", "arguments": arguments}}]}


def repaired(path: Path, content: bytes, **options: Any) -> tuple[bytes, list[Any], Repairs]:
    path.write_bytes(content)
    out, rejects = io.BytesIO(), io.BytesIO()
    repairs = repair_file(path, out, rejects, **options)
    return out.getvalue(), [json.loads(line) for line in rejects.getvalue().splitlines()], repairs


def line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# text with a fault, what it means, the codes of what was repaired
CASES: list[tuple[str, Any, list[str]]] = [
    (line(GOOD)[:-1] + ",}", GOOD, ["trailing_comma"]),
    (line(GOOD).replace("]}", ", ]\t}"), GOOD, ["trailing_comma"]),
    (line(GOOD).replace(", ", "， ").replace(": ", "：").replace("[", "［"), GOOD, ["full_width_punctuation"]),
    (str(GOOD), GOOD, ["python_repr"]),
    (
        str({"messages": [USER, ANSWER | {"weight": None}]}),
        {"messages": [USER, ANSWER | {"weight": None}]},
        ["python_repr"],
    ),
    (
        '{“messages”: [{“role”: “user”, “content”: “say "hi"”}, {"role": "assistant", "content": "“hi”"}]}',
        {"messages": [{"role": "user", "content": 'say "hi"'}, {"role": "assistant", "content": "“hi”"}]},
        ["smart_quotes"],
    ),
    (
        line(GOOD).replace("a bond", "a\tbond"),
        {"messages": [USER | {"content": "What is a\tbond?"}, ANSWER]},
        ["control_character"],
    ),
    (line(GOOD).replace('"role": "user"', '"role": "user", "role": "user"'), GOOD, ["duplicate_key"]),
    (line([USER, ANSWER]), GOOD, ["data_type"]),
    (line([GOOD]), GOOD, ["data_type"]),
    (line(GOOD | {"cost": None}).replace("null", "NaN"), GOOD | {"cost": None}, ["number_invalid"]),
    (line(GOOD | {"weight": 1.0}), GOOD, ["loss_key"]),
    (
        line({"messages": [USER | {"content": {"type": "text", "text": USER["content"]}}, ANSWER]}),
        GOOD,
        ["content_type"],
    ),
    ("12: " + line(GOOD), GOOD, ["json_invalid"]),
    ("[3] " + line(GOOD), GOOD, ["json_invalid"]),
    ("- " + line(GOOD) + ",", GOOD, ["json_invalid"]),
    ("data: " + line(GOOD), GOOD, ["json_invalid"]),
    (line(GOOD) + " ;", GOOD, ["json_invalid"]),
    (line({"messages": [USER | {"role": " Human"}, ANSWER]}), GOOD, ["unrecognized_role"]),
    (line({"messages": [USER | {"id": 7}, ANSWER]}), GOOD, ["message_unrecognized_key"]),
    (line({"messages": [{"role": "system", "content": ""}, USER, ANSWER]}), GOOD, ["missing_content"]),
    (
        line({"messages": [USER | {"weight": 1}, ANSWER | {"weight": True}]}),
        {"messages": [USER, ANSWER | {"weight": 1}]},
        ["weight_invalid"],
    ),
    (line(called({"city": "Rome"})), called('{"city": "Rome"}'), ["arguments_not_json"]),
    (line(called("{'city': 'Rome'}")), called('{"city": "Rome"}'), ["arguments_not_json"]),
    (line(called("")), called("{}"), ["arguments_not_json"]),
    (line(called(json.dumps('{"city": "Rome"}'))), called('{"city": "Rome"}'), ["arguments_encoded_twice"]),
    (line(GOOD | {"tools": [TOOL["function"]]}), GOOD | {"tools": [TOOL]}, ["definition_invalid"]),
    (line(GOOD | {"functions": [TOOL]}), GOOD | {"functions": [TOOL["function"]]}, ["definition_invalid"]),
    (line(GOOD | {"tools": TOOL}), GOOD | {"tools": [TOOL]}, ["definition_invalid"]),
    (line(GOOD | {"tools": str([TOOL])}), GOOD | {"tools": [TOOL]}, ["definition_invalid"]),
    (
        line(GOOD | {"tools": [{"name": "weather", "input_schema": TOOL["function"]["parameters"]}]}),
        GOOD | {"tools": [TOOL]},
        ["definition_invalid"],
    ),
    (
        line({"messages": [USER, ANSWER | {"思考": "It pays interest."}]}),
        {"messages": [USER, ANSWER | {"reasoning_content": "It pays interest."}]},
        ["reasoning_key"],
    ),
    (
        line(
            {"messages": [USER, {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "A loan."}, USE]}]}
        ),
        {"messages": [USER, ANSWER | {"reasoning_content": "A bond?", "tool_calls": [USED]}]},
        ["content_type"],
    ),
    (
        line(
            {"messages": [USER, {"role": "assistant", "content": [USE]}, {"role": "user", "content": RESULTS}, ANSWER]}
        ),
        {
            "messages": [
                USER,
                {"role": "assistant", "content": None, "tool_calls": [USED]},
                {"role": "tool", "tool_call_id": "t1", "content": [{"type": "text", "text": "21"}]},
                {"role": "user", "content": "And now?"},
                ANSWER,
            ]
        },
        ["content_type"],
    ),
    (
        line(
            {
                "messages": [
                    USER,
                    {"role": "assistant", "function_call": CALL},
                    {"role": "function", "name": "weather", "content": {"t": 3}},
                    ANSWER,
                ]
            }
        ),
        {
            "messages": [
                USER,
                {"role": "assistant", "function_call": CALL},
                {"role": "function", "name": "weather", "content": '{"t": 3}'},
                ANSWER,
            ]
        },
        ["content_type"],
    ),
]

HOPELESS = [
    "hello",
    line(GOOD)[:40],
    "{'messages': [{'role': 'user', 'content': 'a' 'b'}, {'role': 'assistant', 'content': 'x'}]}",
    "{'messages': [{'role': 'user', 'content': 'a\\s'}, {'role': 'assistant', 'content': 'x'}]}",
    line(GOOD).replace('"A loan."', "NaN"),
    line(GOOD).replace("A loan.", "\\ud83d"),
    line(GOOD).replace('"role": "user"', '"role": "user", "role": "assistant"'),
    line({"messages": [USER]}),
    line({"messages": [USER, ANSWER | {"content": ""}]}),
    line({"messages": [USER, ANSWER | {"role": "narrator"}]}),
    line(called("[1]")),
    line(GOOD).replace('"A loan."', "Infinity"),
    line([GOOD, GOOD]),
    line(GOOD | {"weight": 0.5}),
    line({"messages": [USER, {"role": "assistant", "content": [USE, {"type": "text", "text": "after it"}]}]}),
    line({"messages": [USER, {"role": "assistant", "content": [USE | {"input_partial": "x"}]}]}),
    line({"messages": [USER, ANSWER, {"role": "user", "content": [RESULTS[0] | {"is_error": True}]}, ANSWER]}),
    line({"messages": [USER, ANSWER | {"rationale": "to be read"}]}),
    line({"text": "x"}),
    "1",
]


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
    "text", ['{"messages":' + "[{" * 40_000, '{"messages":' + "[{" * 50 + "x" * 500_000, "[" * 60_000 + "{'a': 1"]
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


@pytest.mark.parametrize(("text", "meant", "codes"), CASES)
def test_what_is_certain_is_mended(tmp_path: Path, text: str, meant: Any, codes: list[str]) -> None:
    content = f"{line(GOOD)}\n\n{text}\n".encode()
    out, rejects, repairs = repaired(tmp_path / "file", content)
    assert [json.loads(entry) for entry in out.decode().splitlines()] == [GOOD, meant]
    assert rejects == []
    assert [(repair.line, repair.codes, repair.before) for repair in repairs.listed] == [(3, codes, text)]
    assert repairs.counts == {code: 1 for code in codes}


def test_halves_of_characters_are_joined(tmp_path: Path) -> None:
    whole = {"messages": [USER, ANSWER | {"content": "𝔸 loan 🎉"}]}
    halves = line(whole).encode("utf-16", "surrogatepass").decode("utf-16").encode()
    for character in "𝔸🎉":
        high, low = divmod(ord(character) - 0x10000, 0x400)
        pair = chr(0xD800 + high) + chr(0xDC00 + low)
        halves = halves.replace(character.encode(), b"".join(half.encode("utf-8", "surrogatepass") for half in pair))
    out, rejects, repairs = repaired(tmp_path / "file", line(GOOD).encode() + b"\n" + halves)
    assert ([json.loads(entry) for entry in out.splitlines()], rejects) == ([GOOD, whole], [])
    assert repairs.counts == {"encoding_invalid": 1}
    out, rejects, _ = repaired(tmp_path / "file", halves[:-12] + b"\xed\xa0\xbd" + halves[-12:])
    assert (out, len(rejects)) == (b"", 1)


@pytest.mark.parametrize("text", HOPELESS)
def test_what_is_not_certain_is_set_aside(tmp_path: Path, text: str) -> None:
    out, rejects, repairs = repaired(tmp_path / "file", f"{text}\n{line(GOOD)}\n".encode())
    assert out.decode() == line(GOOD) + "\n"
    ((reject),) = rejects
    assert (reject["line"], reject["text"], repairs.rejected) == (1, text, 1)
    assert all(reason["code"] and reason["text"] and reason["remedy"] for reason in reject["reasons"])


def test_a_guess_is_shown_and_taken_only_if_asked(tmp_path: Path) -> None:
    broken = line(GOOD)[:-2].encode() + b"\n"
    out, rejects, repairs = repaired(tmp_path / "file", broken)
    assert (out, len(rejects)) == (b"", 1)
    assert [(repair.is_guess, repair.is_applied, json.loads(repair.after)) for repair in repairs.listed] == [
        (True, False, GOOD)
    ]
    out, rejects, repairs = repaired(tmp_path / "file", broken, guess=True)
    assert (json.loads(out), rejects) == (GOOD, [])
    assert repairs.listed[0].is_applied


def test_what_has_no_error_is_copied_as_it_is(tmp_path: Path) -> None:
    odd = '{ "messages":[{"content":"x","role":"user"},{"role":"assistant","content":"\\u4e2d"} ] ,"id":1}'
    content = f"\ufeff{odd}\r\n \r\n{line(GOOD)}".encode()
    assert repaired(tmp_path / "file", content)[0] == f"{odd}\n{line(GOOD)}\n".encode()


def test_bytes_that_are_no_text_are_kept_readably(tmp_path: Path) -> None:
    _, rejects, _ = repaired(tmp_path / "file", b'{"a": "\xff"}\n')
    assert rejects[0]["text"] == '{"a": "\\xff"}'


faults = st.sampled_from([text for text, _, _ in CASES] + HOPELESS + [line(GOOD)] * 5)


@st.composite
def damaged(draw: Any) -> bytes:
    content = "\n".join(draw(st.lists(faults, max_size=5))).encode()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content)))
        put = draw(
            st.sampled_from([b"", b"'", b'"', b"}", b",", b"\n", b"\t", b"\xff", "：".encode(), "“".encode(), b"\\"])
        )
        content = content[:at] + put + content[at + draw(st.integers(0, 3)) :]
    return content


@given(content=damaged() | st.binary(max_size=60), guess=st.booleans())
@settings(max_examples=example_count(250))
def test_a_mended_file_has_no_errors_and_mending_it_changes_nothing(
    tmp_path: Path, content: bytes, guess: bool
) -> None:
    path = tmp_path / "file"
    try:
        out, rejects, repairs = repaired(path, content, guess=guess)
    except FindingError:  # no text at all
        return
    lines = [entry for entry in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if entry.strip()]
    assert repairs.examples == out.count(b"\n")
    assert repairs.examples + len(rejects) == len(lines)
    again, none, nothing = repaired(path, out, guess=guess)
    assert (again, none, nothing.listed) == (out, [], [])
    if out:
        methods = {name for name in ("supervised", "dpo") if check_file(path, minimum_examples=1, method=name).ok}
        assert methods
