"""Reasoning is read apart from the answer, however the text is cut."""

import pytest

from luthier.data.rendering.call_form import ArgumentsText, CallEvent, CallStart, ReasoningText, VisibleText
from luthier.data.rendering.hermes_form import HERMES
from luthier.data.rendering.thinking_reader import ThinkingReader

CALL = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'


def read(pieces: list[str], *, inside: bool = False, cut_off: bool = False) -> tuple[str, str, list[str]]:
    """(reasoning, text, names of calls)."""
    reader = ThinkingReader(HERMES.new_reader(), inside=inside)
    events: list[CallEvent] = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.finish(cut_off=cut_off)
    whole = "".join(pieces)
    for event in events:
        if isinstance(event, VisibleText):
            assert whole[event.start : event.start + len(event.text)] == event.text
    assert all(isinstance(event, ReasoningText | VisibleText | CallStart | ArgumentsText) for event in events)
    return (
        "".join(event.text for event in events if isinstance(event, ReasoningText)),
        "".join(event.text for event in events if isinstance(event, VisibleText)),
        [event.name for event in events if isinstance(event, CallStart)],
    )


@pytest.mark.parametrize(
    ("text", "inside", "expected"),
    [
        ("<think>\n\n</think>\n\nHello.", False, ("", "Hello.", [])),
        ("<think>\nbecause\n</think>\n\nYes.", False, ("because", "Yes.", [])),
        ("because\n</think>\n\nYes.", True, ("because", "Yes.", [])),
        (f"<think>a < b</think>{CALL}", False, ("a < b", "", ["f"])),
        ("No reasons <think> here", False, ("", "No reasons <think> here", [])),
        ("<thi", False, ("", "<thi", [])),
        ("never ends </thin", True, ("never ends </thin", "", [])),
        ("", False, ("", "", [])),
    ],
)
def test_reasoning_is_told_from_the_answer(text: str, inside: bool, expected: tuple[str, str, list[str]]) -> None:
    reasoning, visible, names = expected
    for pieces in ([text], list(text), *([text[:cut], text[cut:]] for cut in range(len(text)))):
        assert read(pieces, inside=inside) == (reasoning, visible, names)
