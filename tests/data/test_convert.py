"""What people bring: recognised, converted, said; and what could be read in two ways is refused."""

import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check.file_check import check_file
from luthier.data.convert import Hints, prepared
from luthier.data.findings import FindingError
from property_examples import example_count

PAIRS = [
    (f"第{n}个问题：什么是债券？请说明。", f"债券是借给政府或企业的钱，到期还本付息，第{n}种。") for n in range(12)
]
CHATS = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in PAIRS]
JSONL = "".join(json.dumps(chat, ensure_ascii=False) + "\n" for chat in CHATS)
ALPACA = [{"instruction": q, "input": "", "output": a} for q, a in PAIRS]
SHAREGPT = [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in PAIRS]
TABLE = "问题,答案\n" + "".join(f'"{q}","{a}"\n' for q, a in PAIRS)


def lines(*values: Any) -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


def read(path: Path, content: bytes, **hints: str) -> tuple[list[Any], list[str]]:
    """The examples, and what was said to have been converted."""
    path.write_bytes(content)
    with prepared(path, Hints(**hints)) as file:
        examples = [json.loads(line) for line in file.path.read_bytes().decode("utf-8-sig").split("\n") if line]
        assert file.converted == any(note.code == "converted_from" for note in file.notes)
        return examples, [note.value or note.code for note in file.notes]


def workbook(path: Path, *sheets: str) -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    for number, name in enumerate(sheets):
        sheet = book.active if number == 0 else book.create_sheet()
        sheet.title = name
        for row in [("Question", "Answer", None), *((q, a, None) for q, a in PAIRS), (None, " ", None)]:
            sheet.append(row)
    book.save(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "steps"),
    [
        (JSONL.encode(), []),
        (JSONL.replace("\n", "\r\n").encode(), []),
        (JSONL.encode("utf-8-sig"), ["byte_order_mark"]),
        (JSONL.encode("utf-16"), ["UTF-16"]),
        (JSONL.encode("utf-16-le"), ["UTF-16-LE"]),
        (JSONL.encode("utf-16-be"), ["UTF-16-BE"]),
        (JSONL.encode("utf-32"), ["UTF-32"]),
        (JSONL.encode("gbk"), ["GB18030"]),
        (JSONL.replace("\n", "\r").encode(), ["CR line endings"]),
        (JSONL.replace("\n", "\r").encode("utf-16"), ["UTF-16", "CR line endings"]),
        (gzip.compress(JSONL.encode()), ["gzip"]),
        (gzip.compress(JSONL.encode("gbk")), ["gzip", "GB18030"]),
        (json.dumps(CHATS).encode(), ["JSON array"]),
        (json.dumps(CHATS, indent=2, ensure_ascii=False).encode("gbk"), ["GB18030", "JSON array"]),
        ("\n".join(json.dumps(chat, indent=2) for chat in CHATS).encode(), ["indented JSON"]),
        (lines(*ALPACA), ["Alpaca (instruction, input, output)"]),
        (json.dumps(ALPACA).encode(), ["JSON array", "Alpaca (instruction, input, output)"]),
        (lines(*SHAREGPT), ["ShareGPT (conversations)"]),
        (TABLE.encode("utf-8-sig"), ["CSV table", "questions and answers (问题, 答案)", "byte_order_mark"]),
        (TABLE.replace(",", "\t").encode("gbk"), ["GB18030", "CSV table", "questions and answers (问题, 答案)"]),
        (lines(*({"question": q, "answer": a} for q, a in PAIRS)), ["questions and answers (question, answer)"]),
    ],
)
def test_all_these_are_the_same_examples(tmp_path: Path, content: bytes, steps: list[str]) -> None:
    assert read(tmp_path / "file", content) == (CHATS, steps)


def test_a_workbook(tmp_path: Path) -> None:
    content = workbook(tmp_path / "book.xlsx", "Data")
    assert read(tmp_path / "file", content) == (CHATS, ["XLSX table", "questions and answers (Question, Answer)"])
    with pytest.raises(FindingError, match="Data, Old"):
        read(tmp_path / "file", workbook(tmp_path / "book.xlsx", "Data", "Old"))
    two = workbook(tmp_path / "book.xlsx", "Old", "Data")
    assert read(tmp_path / "file", two, sheet="Data")[0] == CHATS


def test_alpaca_with_input_history_and_system(tmp_path: Path) -> None:
    item = {"instruction": "Translate.", "input": "Hallo", "output": "Hello", "history": [["a", "b"]], "system": "Be."}
    ((example,), _) = read(tmp_path / "file", lines(item))
    assert [(m["role"], m["content"]) for m in example["messages"]] == [
        ("system", "Be."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Translate.\nHallo"),
        ("assistant", "Hello"),
    ]


def test_sharegpt_with_tools(tmp_path: Path) -> None:
    definition = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    turns = [
        {"from": "human", "value": "Rome?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
        {"from": "observation", "value": "sunny"},
        {"from": "gpt", "value": "Sunny."},
    ]
    content = lines({"conversations": turns, "tools": json.dumps([definition])})
    ((example,), _) = read(tmp_path / "file", content)
    assert example["tools"] == [{"type": "function", "function": definition}]
    assert example["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"city": "Rome"}'
    path = tmp_path / "out.jsonl"
    path.write_bytes(lines(example))
    assert check_file(path, minimum_examples=1).counts == {}


def test_columns_can_be_named(tmp_path: Path) -> None:
    content = b"id;frage;antwort\n" + b"".join(b"%d;q%d;a%d\n" % (n, n, n) for n in range(3))
    with pytest.raises(FindingError, match=r"id, frage, antwort.*--question"):
        read(tmp_path / "file", content)
    examples, _ = read(tmp_path / "file", content, question="frage", answer="antwort")
    assert examples[1]["messages"][0]["content"] == "q1"
    with pytest.raises(FindingError, match="id, frage, antwort"):
        read(tmp_path / "file", content, question="frage", answer="nope")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"question,prompt,answer\na,b,c\n", "question, prompt, answer"),
        (b"question;x,answer\na;b,c\n", "are ambiguous"),
        (lines({"question": "a", "query": "b", "answer": "c"}), "question, query, answer"),
        ('{"a": "Müller käme später über Köln"}'.encode("latin-1"), "--encoding"),
        ('{"a": "請問債券是什麼？"}'.encode("big5"), "--encoding"),
        ('{"a": "채권이란 무엇입니까 대한민국"}'.encode("euc-kr"), "--encoding"),
        ('{"a": "債券とは何ですか。教えてください"}'.encode("shift-jis"), "--encoding"),
        (b"\x1f\x8b\x08broken", "gzip"),
        (b"PK\x03\x04broken", "zip"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path: Path, content: bytes, match: str) -> None:
    with pytest.raises(FindingError, match=match):
        read(tmp_path / "file", content)


def test_an_encoding_can_be_named(tmp_path: Path) -> None:
    assert read(tmp_path / "file", JSONL.encode("gb18030"), encoding="gb18030")[0] == CHATS
    matches, notes = read(tmp_path / "file", '{"a": "Müller"}'.encode("latin-1"), encoding="cp1252")
    assert (matches, notes) == ([{"a": "Müller"}], ["CP1252"])
    with pytest.raises(FindingError, match="BIG5"):
        read(tmp_path / "file", JSONL.encode(), encoding="big5")


@pytest.mark.parametrize("between", ["", " ", ", ", "\t"])
def test_objects_in_one_line(tmp_path: Path, between: str) -> None:
    texts = [json.dumps(record) for record in ALPACA]
    examples, notes = read(tmp_path / "f", between.join(texts).encode())
    assert examples == read(tmp_path / "g", lines(*ALPACA))[0]
    assert "JSON objects in one line" in notes


def test_an_array_without_its_brackets(tmp_path: Path) -> None:
    content = ",\n".join(json.dumps(record) for record in ALPACA) + ",\n"
    assert read(tmp_path / "f", content.encode()) == read(tmp_path / "g", lines(*ALPACA))


def test_a_bad_line_is_left_for_the_check(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(lines(*ALPACA) + b'{"instruction": "x"\n' + lines({"instruction": 1, "output": "x"}))
    with prepared(path) as file:
        report = check_file(file.path)
    assert [(f.code, f.line) for f in report.findings] == [("json_invalid", 13), ("missing_messages_list", 14)]


def test_a_bad_line_in_a_file_of_utf8_is_no_other_encoding(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(JSONL.encode() + b'{"a": "\xff"}\n')
    with prepared(path) as file:
        assert [(f.code, f.line) for f in check_file(file.path).findings] == [("encoding_invalid", 13)]


def test_lines_of_another_encoding_are_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    bad = [2, 7, 9, 11]
    path.write_bytes(b"".join(lines(c).decode().encode("gbk" if n in bad else "utf-8") for n, c in enumerate(CHATS, 1)))
    with prepared(path) as file:
        findings = check_file(file.path).findings
    assert [finding.line for finding in findings if finding.code == "encoding_invalid"] == bad


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 7\n", "git lfs pull"),
        (b"\xef\xbb\xbf\n<!doctype HTML><html><head><title>\n404: not\nhere</title>", "web page.*404: not here"),
        (b"<html lang=en>", "web page"),
    ],
)
def test_what_a_download_left_in_place_of_the_data(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(FindingError, match=words):
        read(tmp_path / "train.jsonl", content)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (
            b'[{"messages": [{"role": "user", "content": "cut \\ud83d"}, {"role": "assistant", "content": "a"}]}]',
            "lone_surrogate",
        ),
        (b'[{"messages": [{"role": "user", "content": "%s\xff"}]}]' % ("债券" * 300).encode(), "encoding_invalid"),
        (b'[{"id": 123456789012345678901234567890, "messages": [{"role": "user", "content": "a"}]}]', ""),
    ],
)
def test_what_json_cannot_hold_everywhere_is_for_the_check(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with prepared(path) as file:
        (line,) = file.path.read_bytes().splitlines()
        findings = check_file(file.path, minimum_examples=1).findings
    text, original = (raw.decode(errors="surrogateescape") for raw in (line, content[1:-1]))
    assert json.loads(text) == json.loads(original)
    assert not code or code in {finding.code for finding in findings}


def test_long_arrays_are_read_in_pieces(tmp_path: Path) -> None:
    many = CHATS * 400
    examples, _ = read(tmp_path / "file", json.dumps(many, ensure_ascii=False).encode())
    assert examples == many


@given(
    content=st.binary(max_size=120)
    | st.text(alphabet='{}[]":,;\t\r\n中é0aq\ufeff', max_size=60).map(str.encode)
    | st.text(alphabet='{}[]":,中é\r\n', max_size=40).map(lambda text: text.encode("utf-16"))
)
@settings(max_examples=example_count(200))
def test_any_bytes_are_prepared_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with suppress(FindingError), prepared(path) as file:
        check_file(file.path)
    assert path.read_bytes() == content
