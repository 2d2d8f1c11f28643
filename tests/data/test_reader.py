"""Bytes to lines to JSON values."""

import json
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.findings import FindingError
from luthier.data.jsonl.reader import MAX_DEPTH, Line, fingerprint, parse_json, parse_line, read_lines
from property_examples import example_count


def write(folder: Path, content: bytes) -> Path:
    path = folder / "file.jsonl"
    path.write_bytes(content)
    return path


def values(path: Path) -> list[tuple[int, object]]:
    return [(line.number, parse_line(line)) for line in read_lines(path)]


def code_of(text: str) -> str:
    with pytest.raises(FindingError) as caught:
        parse_json(text)
    return caught.value.finding.code


def test_a_mark_crlf_and_blank_lines_change_nothing_but_the_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \t\n{"b": 2}\n\n3')
    assert values(path) == [(1, {"a": 1}), (4, {"b": 2}), (6, 3)]


def test_consumed_bytes_reach_the_size_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf1\r\n\n22\n333")
    assert [line.end_bytes for line in read_lines(path)] == [6, 10, 13]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\\u2028"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, separator: str) -> None:
    path = write(tmp_path, f'{{"a": "x{separator}y"}}\n'.encode())
    assert values(path) == [(1, {"a": "x" + separator.replace("\\u2028", "\u2028") + "y"})]


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ('{"a": 1}\n'.encode("utf-16"), "UTF-16"),
        ('{"a": 1}\n'.encode("utf-16-le"), "UTF-16"),
        ('{"a": 1}\n'.encode("utf-16-be"), "UTF-16"),
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (b"PK\x03\x04rest", "zip"),
    ],
)
def test_what_is_not_text_is_named_at_once(tmp_path: Path, content: bytes, seen: str) -> None:
    with pytest.raises(FindingError, match=rf"line 1: .*{seen}.*UTF-8") as caught:
        values(write(tmp_path, content))
    assert (caught.value.finding.code, caught.value.finding.line) == ("encoding_invalid", 1)


def test_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"a": 1}\n' + '{"a": "中文"}\n'.encode("gbk"))
    with pytest.raises(FindingError, match=r"line 2: .*0xd6"):
        values(path)


def test_numbers_that_json_does_not_have() -> None:
    assert [code_of(text) for text in ("NaN", "[Infinity]", "-Infinity", "1e999", "9" * 5000)] == ["number_invalid"] * 5
    assert parse_json('["NaN", 1e308, -0.0, 5]') == ["NaN", 1e308, 0.0, 5]


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 100_000])
def test_absurd_nesting(levels: int) -> None:
    assert code_of("[" * levels + "]" * levels) == "nesting_too_deep"
    assert code_of('{"a":' * levels + "1" + "}" * levels) == "nesting_too_deep"


def test_brackets_that_do_not_nest() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert parse_json(json.dumps(["[{" * 1000])) == ["[{" * 1000]
    assert parse_json("[" + "[]," * 1000 + "[]]") == [[]] * 1001


def test_half_characters() -> None:
    assert [code_of(text) for text in ('"\\ud83d"', '{"\\uDE00": 1}', '["\\ude00\\ud83d"]')] == ["lone_surrogate"] * 3
    assert parse_json('["\\ud83d\\ude00", "\\\\ud83d"]') == ["😀", "\\ud83d"]


def test_invalid_json_names_the_character() -> None:
    with pytest.raises(FindingError) as caught:
        parse_line(Line(7, b'{"a": 1, b}', 0))
    finding = caught.value.finding
    assert (finding.code, finding.line, finding.detail) == ("json_invalid", 7, "10")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@given(value=json_values)
@settings(max_examples=example_count(50))
def test_every_json_value_is_read_and_has_one_fingerprint(value: object) -> None:
    read = parse_json(json.dumps(value))
    assert read == value
    assert fingerprint(read) == fingerprint(parse_json(json.dumps(value, indent=1, ensure_ascii=False)))


def test_fingerprints_ignore_the_order_of_keys_and_of_nothing_else() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert len({fingerprint(value) for value in ([1, 2], [2, 1], "1", 1, True, None, {"a": None}, {})}) == 8


@given(
    value=json_values,
    style=st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}]),
    noise=st.text('"\\:{}[], 01e', max_size=3),
)
@settings(max_examples=example_count(150))
def test_the_faster_way_reads_the_same(value: object, style: dict[str, Any], noise: str) -> None:
    text = json.dumps({"a": value, "b": noise}, **style).replace("\n", " ")
    for line in (text, text.replace('"b"', '"a"'), text + noise, text.replace(": ", " :")):
        try:
            expected: object = parse_json(line)
        except FindingError as error:
            expected = error.finding.code
        try:
            outcome = parse_line(Line(1, line.encode(), 0))
        except FindingError as error:
            outcome = error.finding.code
        assert outcome == expected
        assert json.dumps(outcome) == json.dumps(expected)


@pytest.mark.parametrize("raw", [b'"\\u00e9"', b'{"a" : 1}', b'{"a": 1, "a": 2}', b"12345678901234567890", b"{"])
def test_nothing_is_kept_of_a_line_that_is_read_twice(raw: bytes) -> None:
    """An exception that is made once and raised again and again keeps the frames of all its callers."""

    def read() -> weakref.ref[set[int]]:
        local = {1}
        with suppress(FindingError):
            parse_line(Line(1, raw, len(raw)))
        return weakref.ref(local)

    assert read()() is None
