"""One choice, token by token: its parts do not depend on how the text is cut into tokens."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from luthier.data.rendering.call_form import parse_answer
from luthier.data.rendering.harmony_form import HarmonyForm
from luthier.data.rendering.hermes_form import HERMES
from luthier.data.rendering.thinking_reader import reasoning_marks
from luthier.inference import FinishReason, Token
from luthier.server.generation.choice_stream import ChoiceParser, GeneratedChoice, TextDelta
from luthier.server.generation.tool_calls import CallDelta, CallPolicy

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
        '<tool_call>{"arguments": {"y": "}"}, "name": "h"}</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": {"q": "\\"</tool_call>"',
        "}",
    ]
)
TEXTS = st.lists(WORDS, max_size=10).map("".join)
STOPS = st.lists(st.sampled_from(["a", "ab", "aab", "bb", "ba", "中", "\n", "call>", ""]), max_size=4)
CUTS = st.lists(st.integers(0, 200), max_size=12)


def _pieces(text: str, cuts: list[int]) -> list[str]:
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(borders)]


def _run(
    text: str, cuts: list[int], stops: list[str], *, calls: bool, prefix: str = "", reason: FinishReason = "stop"
) -> tuple[str, list[tuple[str, str]], str, str]:
    """(text, calls, finish reason, text of the tokens that are reported)"""
    pieces = _pieces(text, cuts)
    policy = CallPolicy(wire_form="tools" if calls else None, forced_prefix=prefix)
    parser = ChoiceParser(pieces.__getitem__, stops, policy, keep_tokens=True)
    choice = GeneratedChoice()
    for index in range(len(pieces)):
        for part in parser.feed(Token(index, -1.0)):
            choice.add(part)
        if parser.stopped:
            break
    for part in parser.finish("cancelled" if parser.stopped else reason):
        choice.add(part)
    functions = [(call.function.name, call.function.arguments) for call in choice.calls.tool_calls or []]
    return choice.text, functions, choice.finish_reason, "".join(pieces[token.id] for token in choice.tokens)


@given(TEXTS, CUTS, STOPS, st.booleans(), st.sampled_from(["stop", "length"]))
@example("ab", [1], ["b", "ab"], False, "stop")
@example(" <tool_call>{} x", [3], [], True, "stop")
def test_the_cuts_do_not_matter(
    text: str, cuts: list[int], stops: list[str], calls: bool, reason: FinishReason
) -> None:
    whole = _run(text, list(range(len(text))), stops, calls=calls, reason=reason)
    assert _run(text, cuts, stops, calls=calls, reason=reason)[:3] == whole[:3]


@given(TEXTS)
def test_tokens_are_those_of_the_text(text: str) -> None:
    """One character each, so that a token is text or markup and not both."""
    cuts = list(range(len(text)))
    for calls in (True, False):
        sent, _, _, tokens = _run(text, cuts, [], calls=calls)
        assert tokens == sent


@given(TEXTS, CUTS, STOPS)
def test_stop_sequences_never_come_out(text: str, cuts: list[int], stops: list[str]) -> None:
    sent, _, _, _ = _run(text, cuts, stops, calls=False)
    nonempty = [stop for stop in stops if stop]
    assert not any(stop in sent for stop in nonempty)
    assert text.startswith(sent)
    if not any(stop in text for stop in nonempty):
        assert sent == text


@given(TEXTS, CUTS)
def test_calls_are_those_of_the_whole_text(text: str, cuts: list[int]) -> None:
    sent, calls, _, _ = _run(text, cuts, [], calls=True)
    expected = parse_answer(text, HERMES)
    assert calls == [(call.name, call.arguments) for call in expected.calls]
    assert sent == (expected.content or "")


@given(TEXTS, CUTS)
def test_without_definitions_a_call_is_text(text: str, cuts: list[int]) -> None:
    assert _run(text, cuts, [], calls=False)[0] == text


@given(st.sampled_from(['"name"', "\n", "<tool_call>", ":"]), CUTS)
def test_an_opening_is_no_reason_to_stop(stop: str, cuts: list[int]) -> None:
    text = '"f", "arguments"= {}}'
    sent, _, _, _ = _run(text, cuts, [stop], calls=True, prefix='<tool_call>\n{"name": ')
    assert sent.endswith(text)


ARGUMENTS = st.recursive(
    st.sampled_from(["a\nb", "}", "</tool_call>", '"', "<tool_call>", "\\", "中"]) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "}", '"']), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["a", "\n", "stop"]), ARGUMENTS, max_size=3), CUTS, st.data())
def test_a_call_cut_anywhere_is_a_call_so_far(
    arguments: dict[str, object], cuts: list[int], data: st.DataObject
) -> None:
    """Whatever its arguments hold, and wherever the generation ends: no markup, and a beginning of the arguments."""
    written = json.dumps(arguments, ensure_ascii=False)
    call = f'<tool_call>\n{{"name": "f", "arguments": {written}}}\n</tool_call>'
    length = data.draw(st.integers(0, len(call)))
    text, calls, reason, _ = _run("Look:\n" + call[:length], cuts, [], calls=True, reason="length")
    assert (text.strip(), reason) == ("Look:", "length")
    if length >= call.index(written):
        ((name, so_far),) = calls
        assert name == "f"
        assert so_far == written[: max(0, length - call.index(written))]
    elif length < call.index(","):
        assert not calls


@given(st.lists(st.sampled_from(["\n", "}", ",", "<", "tool", '"', "f", ":", "x", " "]), min_size=1, max_size=4), CUTS)
def test_stop_sequences_leave_calls_whole(stops: list[str], cuts: list[int]) -> None:
    """They are looked for in what the caller sees, and not in arguments."""
    arguments = '{"x": "a}, b", "n": 1}'
    text = f'\n<tool_call>\n{{"name": "f", "arguments": {arguments}}}\n</tool_call>\n'
    assert _run(text, cuts, stops, calls=True)[:3] == ("", [("f", arguments), ("f", arguments)][:1], "tool_calls")


def test_stop_sequences_end_the_text_before_a_call() -> None:
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    assert _run(f"One.\n\nTwo. {call}", [], ["\n\n"], calls=True)[:3] == ("One.", [], "stop")
    assert _run(f"One.\n{call}", [], ["\n"], calls=True)[:3] == ("One.", [("f", "{}")], "tool_calls")


def _events(pieces: list[str], stops: list[str], prefix: str = "") -> list[list[object]]:
    """What each piece releases: text, or (name, arguments)."""
    policy = CallPolicy(wire_form="tools", forced_prefix=prefix)
    parser = ChoiceParser(pieces.__getitem__, stops, policy, keep_tokens=False)
    return [
        [
            part.text if isinstance(part, TextDelta) else (part.name, part.arguments)
            for part in parser.feed(Token(index, -1.0))
            if isinstance(part, TextDelta | CallDelta)
        ]
        for index in range(len(pieces))
    ]


def test_text_comes_as_early_as_it_can() -> None:
    pieces = ["Hello, S", "he said.\n<to", "ast> ST", "OP and more"]
    assert _events(pieces, ["STOP"]) == [["Hello, "], ["She said."], ["\n<toast> "], []]


def test_calls_come_as_they_are_written() -> None:
    pieces = ["I look.\n<tool_", 'call>\n{"na', 'me": "f", "argu', 'ments": {"a', '": [1', "]}", "}\n</tool_", "call>"]
    assert _events(pieces, []) == [
        ["I look."],
        [],
        [],
        [("f", ""), (None, '{"a')],
        [(None, '": [1')],
        [(None, "]}")],
        [],
        [],
    ]


def test_a_forced_call() -> None:
    pieces = ['{"a": ', "[1]}", "}\n</tool_", "call>"]
    released = _events(pieces, [], prefix='<tool_call>\n{"name": "f", "arguments": ')
    assert released == [[("f", ""), (None, '{"a": ')], [(None, "[1]}")], [], []]


GEMMA = reasoning_marks("{{ '<|channel>thought' }}")


@given(cuts=CUTS)
@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("<think>\na\n</think>\n\nYes.b", CallPolicy(reasoning="possible")),
        ("a\n</think>\n\nYes.b", CallPolicy(reasoning="open")),
        ("<|channel>thought\na\n<channel|>Yes.b", CallPolicy(reasoning="possible", reasoning_marks=GEMMA)),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>Yes.b",
            CallPolicy(reasoning="possible", form=HarmonyForm()),
        ),
    ],
)
def test_reasoning_stays_out_of_the_content(cuts: list[int], text: str, policy: CallPolicy) -> None:
    pieces = _pieces(text, cuts)
    parser = ChoiceParser(pieces.__getitem__, ["b"], policy, keep_tokens=True)
    choice = GeneratedChoice()
    for index in range(len(pieces)):
        for part in parser.feed(Token(index, -1.0)):
            choice.add(part)
    for part in parser.finish("stop"):
        choice.add(part)
    assert (choice.reasoning, choice.text, choice.finish_reason) == ("a", "Yes.", "stop")
