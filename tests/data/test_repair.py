"""Repairs: what is certain, nothing else; nothing dropped; the second time changes nothing."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check.file_check import check_file
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
