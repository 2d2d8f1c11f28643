"""Incremental reader of the harmony form of gpt-oss: each message of an answer is text, reasoning or a call."""

import re
from collections.abc import Callable

from luthier.data.rendering.call_form import ArgumentsText, CallEvent, CallStart, ReasoningText, VisibleText
from luthier.data.rendering.call_text_reader import CallTextReader, overlap

CHANNEL, MESSAGE = "<|channel|>", "<|message|>"
FUNCTIONS = " to=functions."
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_NEXT = "<|start|>assistant"
CALL_MARKS = (CHANNEL, MESSAGE, "<|start|>", *_ENDS)
_RECIPIENT = re.compile(r"to=(?:functions\.)?([^\s<]+)(?=\s|<)")
_REASONING = re.compile(r"<\|channel\|>\s*analysis\b")
_BEGINNINGS = ("to=", CHANNEL)


class HarmonyReader(CallTextReader):
    """Its states: the header of a message, its body, the text between two messages; or an answer without headers."""

    def __init__(self) -> None:
        super().__init__(_BEGINNINGS)
        self._state = self._read_header
        self._event_of: Callable[[str], CallEvent] = self._visible  # of the message that is being read
        self._is_first = True

    def _visible(self, text: str) -> CallEvent:
        return VisibleText(text, self._offset)

    def _read_header(self) -> bool:
        header = self._buffer.lstrip()
        if self._is_first and not any(header.startswith(mark[: len(header)]) for mark in _BEGINNINGS):
            self._state = self._read_unmarked
            return True
        place = self._buffer.find(MESSAGE)
        if place < 0 and not self._ended:
            return False
        if place < 0 and not self._cut_off and self._is_first:
            self._state = self._read_unmarked
            return True
        self._begin_message(self._buffer if place < 0 else self._buffer[:place])
        self._drop(len(self._buffer) if place < 0 else place + len(MESSAGE))
        self._state = self._read_body
        return place >= 0

    def _begin_message(self, header: str) -> None:
        recipient = _RECIPIENT.search(header)
        if recipient:
            self._events.append(CallStart(recipient[1]))
            self._event_of = ArgumentsText
        else:
            self._event_of = ReasoningText if _REASONING.search(header) else self._visible
        self._is_first = False

    def _read_body(self) -> bool:
        places = [(place, mark) for mark in _ENDS if (place := self._buffer.find(mark)) >= 0]
        end, mark = min(places, default=(len(self._buffer), ""))
        if not mark and (self._cut_off or not self._ended):
            end -= max(overlap(self._buffer, each) for each in _ENDS)
        self._say(end)
        self._drop(len(mark))
        if mark:
            self._state = self._read_between
        return bool(mark)

    def _read_between(self) -> bool:
        text = self._buffer.lstrip()
        if len(text) < len(_NEXT) and _NEXT.startswith(text):
            return False
        self._drop(len(self._buffer) - len(text.removeprefix(_NEXT)))
        self._state = self._read_header
        return True

    def _read_unmarked(self) -> bool:
        """Reads an answer without headers, as a model that was not trained on the form writes it."""
        self._say(len(self._buffer))
        return False

    def _say(self, end: int) -> None:
        if end > 0:
            self._events.append(self._event_of(self._buffer[:end]))
            self._drop(end)
