"""The proof in bulk and the careful look must come to the same findings, whatever the bytes."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.check import file_check as checking
from luthier.data.check.file_check import check_file
from luthier.data.findings import Report
from luthier.data.jsonl.fast_validator import Run, find_runs
from property_examples import example_count

texts = st.text(st.sampled_from(" \n\t\xa0\u2028\u3000"), max_size=3) | st.text(
    st.sampled_from('ab "\\/\n\r\t{}[],:中é😀\u2028\x00\x7f\ufeffu0') | st.characters(codec="utf-8"), max_size=8
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "developer", "tool", "bot"]), "content": texts},
    optional={"weight": st.sampled_from([0, 1, 2]), "name": texts},
)
examples = st.fixed_dictionaries({"messages": st.lists(messages, max_size=4)}, optional={"id": texts})
clean = texts.map(
    lambda text: {"messages": [{"role": "user", "content": f"{text}?"}, {"role": "assistant", "content": f"{text}!"}]}
)
styles = st.sampled_from(
    [
        {"ensure_ascii": False},
        {"ensure_ascii": True},
        {"ensure_ascii": False, "separators": (",", ":")},
        {"ensure_ascii": True, "separators": (", ", ":")},
    ]
)


@st.composite
def files(draw: Any) -> bytes:
    """Lines that are mostly clean, then bytes of them replaced, put in and taken out."""
    style, end = draw(styles), draw(st.sampled_from([b"\n", b"\r\n"]))
    values = draw(st.lists(clean | clean | examples, max_size=6))
    content = end.join(json.dumps(value, **style).encode() for value in values) + draw(st.sampled_from([b"", end]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(content)))
        put = draw(
            st.sampled_from(
                [b"", b"\\", b'"', b"}", b"\n", b"\t", b"\xff", b"\\u12", b"\\ud800", b'\\"', b"\\\\", b"\\}, {"]
            )
        )
        content = content[:at] + put + content[at + draw(st.integers(0, 2)) :]
    return content


def report_of(path: Path) -> dict[str, Any]:
    return check_file(path, minimum_examples=1).to_dict("en")


@given(content=files())
@settings(max_examples=example_count(250))
def test_fast_and_careful_agree(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    fast = report_of(path)
    with monkeypatch.context() as patch:
        patch.setattr(checking, "find_runs", lambda lines: [Run(0, len(lines), 0, False)])
        careful = report_of(path)
    assert fast == careful


@given(content=files())
@settings(max_examples=example_count(100))
def test_runs_are_the_block_and_leave_it_as_it_was(content: bytes) -> None:
    lines = bytearray(content + b"\n")
    runs = find_runs(memoryview(lines))
    assert bytes(lines) == content + b"\n"
    assert [run.start for run in runs] == [0, *(run.end for run in runs[:-1])]
    assert runs[-1].end == len(lines)
    assert all(run.line_count == lines[run.start : run.end].count(b"\n") for run in runs if run.is_valid)


@pytest.mark.parametrize("style", [{}, {"ensure_ascii": False}, {"separators": (",", ":")}])
def test_what_people_write_is_proved(style: dict[str, Any]) -> None:
    turns = [{"role": "system", "content": "简短。"}, {"role": "user", "content": 'a "b"\n\\c\\\\ \\"'}]
    turns += [{"role": "assistant", "content": "é\t"}] * 2 + turns[1:] + [{"role": "assistant", "content": "/"}]
    for end in ("\n", "\r\n"):
        line = (json.dumps({"messages": turns}, **style) + end).encode()
        assert find_runs(memoryview(bytearray(line * 3))) == [Run(0, len(line) * 3, 3, True)]


WHITE_SPACE = [char for char in map(chr, range(0x3001)) if char.isspace()]


@pytest.mark.parametrize("ascii_only", [True, False])
def test_no_white_space_is_proved_a_text(ascii_only: bool) -> None:
    for char in WHITE_SPACE:
        for text in (char, char + "\n ", " " + char):
            turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": text}]
            line = (json.dumps({"messages": turns}, ensure_ascii=ascii_only) + "\n").encode()
            assert [run.is_valid for run in find_runs(memoryview(bytearray(line)))] == [False], repr(text)
            line = line.replace(b'"a"', b'"' + json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode() + b'a"')
            line = line.replace(b'"}]', b'b"}]')
            assert [run.is_valid for run in find_runs(memoryview(bytearray(line)))] == [True], repr(text)


def test_one_other_line_costs_no_more_than_itself() -> None:
    line = b'{"messages": [{"role": "assistant", "content": "x"}]}\n'
    other = b'{"messages": [{"role": "assistant", "content": "a\\qb"}]}\n\n'
    runs = find_runs(memoryview(bytearray(line * 2 + other + line)))
    # The line before goes with it: a line feed is only sure to be one if an example begins behind it.
    assert [(run.line_count, run.is_valid) for run in runs] == [(2, True), (0, False), (1, True)]


def test_a_spoilt_string_cannot_end_where_its_fault_is(tmp_path: Path) -> None:
    """What stands in for a fault must not read as the end of the text, with a whole message behind it."""
    path = tmp_path / "file.jsonl"
    for fault in ("\\", "\t", "\\q", "\\u", "\\ud800", "\\u12"):
        line = f'{{"messages": [{{"role": "user", "content": "a{fault}}}, {{"role": "assistant", "content": "b"}}]}}\n'
        path.write_text(line * 10)
        report: Report = check_file(path)
        assert sum(finding.severity == "error" for finding in report.findings) == 10, fault


@pytest.mark.parametrize("inside", ["\n", "}\n", "]}\n{", ']}\n{"', ']}\r\n{"m', ']}\n{"messages": ['])
def test_a_line_feed_in_a_text_is_no_part_of_it(tmp_path: Path, inside: str) -> None:
    """Two lines that are no JSON each must not read as one that is."""
    path = tmp_path / "file.jsonl"
    for ending in ("x", "}, x", '"}]}\n'):
        user = f'{{"role": "user", "content": "a{inside}{ending}"}}'
        line = f'{{"messages": [{user}, {{"role": "assistant", "content": "b"}}]}}\n'
        path.write_bytes(line.encode() * 10)
        assert not check_file(path).ok
        assert all(not run.is_valid for run in find_runs(memoryview(bytearray(line.encode() * 10))))
