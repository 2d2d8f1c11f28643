"""The incremental parser: its output does not depend on how the text is cut into pieces."""

import itertools
import json

from hypothesis import example, given
from hypothesis import strategies as st

from luthier.data.examples.messages import parse_answer
from luthier.server.generation.stop_and_call_parser import StopAndCallParser

# Few letters, so that sequences overlap and repeat; and what calls are made of.
WORDS = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        "aab",
        " ",
        "\n",
        "<",
        "<tool_call>",
        "</tool_call>",
        "<tool",
        "中",
        '{"name": "f"}',
        '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>',
        '<tool_call>{"name": "g", "arguments": {}}',
    ]
)
TEXTS = st.lists(WORDS, max_size=10).map("".join)
STOPS = st.lists(st.sampled_from(["a", "ab", "aab", "bb", "ba", "中", "\n", "call>", ""]), max_size=4)
CUTS = st.lists(st.integers(0, 200), max_size=12)


def _pieces(text: str, cuts: list[int]) -> list[str]:
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(borders)]


def _run(text: str, cuts: list[int], stops: list[str], *, calls: bool, prefix: str = "") -> tuple[str, object, bool]:
    """(text sent, parsed answer, whether a stop sequence was found)"""
    parser = StopAndCallParser(stops, calls=calls, prefix=prefix)
    sent = [parser.feed(piece) for piece in _pieces(text, cuts)]
    answer, rest = parser.finish()
    return "".join(sent) + rest, answer, parser.stopped


@given(TEXTS, CUTS, STOPS, st.booleans())
@example("ab", [1], ["b", "ab"], False)
@example(" <tool_call>{} x", [3], [], True)
def test_the_cuts_do_not_matter(text: str, cuts: list[int], stops: list[str], calls: bool) -> None:
    whole = _run(text, list(range(len(text))), stops, calls=calls)
    assert _run(text, cuts, stops, calls=calls) == whole


@given(TEXTS, CUTS, STOPS, st.booleans())
def test_what_was_sent_is_the_answer(text: str, cuts: list[int], stops: list[str], calls: bool) -> None:
    sent, answer, _ = _run(text, cuts, stops, calls=calls)
    assert sent == (answer.content or "")


@given(TEXTS, CUTS, STOPS)
def test_stop_sequences_never_come_out(text: str, cuts: list[int], stops: list[str]) -> None:
    sent, _, stopped = _run(text, cuts, stops, calls=False)
    nonempty = [stop for stop in stops if stop]
    assert stopped == any(stop in text for stop in nonempty)
    assert not any(stop in sent for stop in nonempty)
    assert text.startswith(sent)
    if not stopped:
        assert sent == text


@given(TEXTS, CUTS)
def test_calls_are_those_of_the_whole_text(text: str, cuts: list[int]) -> None:
    sent, answer, _ = _run(text, cuts, [], calls=True)
    expected = parse_answer(text)
    assert answer.calls == expected.calls
    assert sent.strip() == (expected.content or "").strip()


@given(TEXTS, CUTS)
def test_without_definitions_a_call_is_text(text: str, cuts: list[int]) -> None:
    assert _run(text, cuts, [], calls=False)[0] == text


@given(st.sampled_from(['"name"', "\n", "<tool_call>", ":"]), CUTS)
def test_an_opening_is_no_reason_to_stop(stop: str, cuts: list[int]) -> None:
    text = '"f", "arguments"= {}}'
    sent, _, stopped = _run(text, cuts, [stop], calls=True, prefix='<tool_call>\n{"name": ')
    assert not stopped
    assert sent.endswith(text)


def test_text_comes_as_early_as_it_can() -> None:
    parser = StopAndCallParser(["STOP"], calls=True)
    assert parser.feed("Hello, S") == "Hello,"  # white space could be what a call follows
    assert parser.feed("he said. <to") == " She said."
    assert parser.feed("ast> ST") == " <toast>"
    assert parser.feed("OP and more") == ""
    assert parser.stopped
    assert parser.finish()[1] == " "


def test_a_forced_call() -> None:
    parser = StopAndCallParser([], calls=True, prefix='<tool_call>\n{"name": "f", "arguments": ')
    assert [parser.feed(piece) for piece in ('{"a": ', "[1]}", "}\n</tool_", "call>")] == [""] * 4
    answer, rest = parser.finish()
    assert (answer.content, rest) == (None, "")
    assert [(call.name, json.loads(call.arguments)) for call in answer.calls] == [("f", {"a": [1]})]
