"""Separates the reasoning that a model writes between two marks from the answer after it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from luthier.data.rendering.call_form import CallEvent, CallReader, ReasoningText, VisibleText
from luthier.data.rendering.call_text_reader import overlap


@dataclass(frozen=True)
class ReasoningMarks:
    """The marks around reasoning. `end`: the text that ends reasoning that a prompt has opened."""

    opening: str
    closing: str
    end: str


THINK = ReasoningMarks("<think>", "</think>", "\n</think>\n\n")
_OTHER_MARKS = (
    ReasoningMarks("<|channel>thought", "<channel|>", "\n<channel|>"),  # Gemma 4
    ReasoningMarks("[THINK]", "[/THINK]", "[/THINK]"),  # Magistral, Ministral
)


def reasoning_marks(template: str) -> ReasoningMarks:
    """The reasoning marks of a chat template; those of <think> if it contains none."""
    return next((marks for marks in _OTHER_MARKS if marks.opening in template), THINK)


class ThinkingReader:
    """Reads reasoning at the beginning of an answer, and passes the rest to another reader."""

    def __init__(self, reader: CallReader, marks: ReasoningMarks = THINK, *, inside: bool = False) -> None:
        """`inside`: whether the prompt has already opened the reasoning."""
        self._reader, self._marks, self._buffer, self._offset = reader, marks, "", 0
        self._state: Callable[[], list[CallEvent]] = self._read_reasoning if inside else self._read_beginning
        self._ended = False

    def feed(self, piece: str) -> list[CallEvent]:
        self._buffer += piece
        return self._state()

    def finish(self, *, cut_off: bool) -> list[CallEvent]:
        self._ended = True
        events = self._state()
        return events + self._shifted(self._reader.finish(cut_off=cut_off))

    def _read_beginning(self) -> list[CallEvent]:
        text = self._buffer.lstrip()
        opening = self._marks.opening
        if text.startswith(opening):
            self._drop(len(self._buffer) - len(text) + len(opening))
            return self._skip_lines(self._read_reasoning)
        if opening.startswith(text) and not self._ended:
            return []
        self._state = self._read_answer
        return self._state()

    def _read_reasoning(self) -> list[CallEvent]:
        closing = self._marks.closing
        place = self._buffer.find(closing)
        if place < 0:
            end = len(self._buffer) if self._ended else len(self._buffer) - _held_back(self._buffer, closing)
            return self._reasoning(end)
        events = self._reasoning(len(self._buffer[:place].rstrip("\n")))
        self._drop(self._buffer.find(closing) + len(closing))
        return events + self._skip_lines(self._read_answer)

    def _reasoning(self, end: int) -> list[CallEvent]:
        """Emits the buffer up to `end` as reasoning."""
        text = self._buffer[:end]
        self._drop(end)
        return [ReasoningText(text)] if text else []

    def _skip_lines(self, following: Callable[[], list[CallEvent]]) -> list[CallEvent]:
        """Skips line breaks after a mark, which belong to neither reasoning nor answer; then enters `following`."""
        self._drop(len(self._buffer) - len(self._buffer.lstrip("\n")))
        if not self._buffer:
            self._state = partial(self._skip_lines, following)
            return []
        self._state = following
        return self._state()

    def _read_answer(self) -> list[CallEvent]:
        piece, start = self._buffer, self._offset
        self._buffer = ""
        events = self._reader.feed(piece)
        return self._shifted(events) if start else events

    def _shifted(self, events: list[CallEvent]) -> list[CallEvent]:
        """The events of the other reader, with offsets in the whole text."""
        return [
            replace(event, start=event.start + self._offset) if isinstance(event, VisibleText) else event
            for event in events
        ]

    def _drop(self, count: int) -> None:
        self._buffer, self._offset = self._buffer[count:], self._offset + count


def _held_back(text: str, closing: str) -> int:
    """The length of the text's end that may be the beginning of the closing mark, with the line breaks before it."""
    mark = overlap(text, closing)
    before = text[: len(text) - mark]
    return mark + len(before) - len(before.rstrip("\n"))
