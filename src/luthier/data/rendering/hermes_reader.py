"""Incremental reader of the Hermes form: text and calls, as soon as they are certain.

A call whose JSON begins with its name, then its arguments, is reported while it is written. Other orders of the
members are read once the JSON is complete.
"""

import json
import re
from collections.abc import Callable

from luthier.data.jsonl import lossless_json
from luthier.data.rendering.call_form import ArgumentsText, CallEvent, CallStart, VisibleText

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_NAME = r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")'
_NAME_ONLY = re.compile(_NAME, re.DOTALL)
_HEADER = re.compile(_NAME + r'\s*,\s*"arguments"\s*:\s*(?=\{)', re.DOTALL)
_SPACE = re.compile(r"\s*")
_MAX_LEADING_SPACE = 32  # leading white space that waits for a call behind it; more of it is text


class JsonScanner:
    """Finds the end of a JSON object that arrives in pieces, by its brackets and strings."""

    def __init__(self, depth: int = 0) -> None:
        """`depth`: brackets that are open already."""
        self._depth, self._in_string, self._escaped = depth, False, False

    def feed(self, text: str) -> int | None:
        """The offset behind the bracket that closes the object; None when it is not in this piece."""
        for offset, char in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._in_string, self._escaped = char != '"', char == "\\"
            elif char == '"':
                self._in_string = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return offset + 1
        return None


class HermesReader:
    """A state machine: text, the JSON of a call, its arguments, the rest of its JSON, its closing mark.

    A state consumes from the buffer and returns whether another state can go on with the rest.
    """

    def __init__(self) -> None:
        self._buffer, self._offset = "", 0  # unread text, and its place in the generated text
        self._events: list[CallEvent] = []
        self._state: Callable[[], bool] = self._read_text
        self._has_calls = False
        self._blank = True  # no visible text since the beginning or the last call
        self._space_length = 0  # of the white space before the opening mark, which belongs to a call, if it is one
        self._scanner, self._scanned = JsonScanner(), 0
        self._ended, self._cut_off = False, False

    def feed(self, piece: str) -> list[CallEvent]:
        self._buffer += piece
        return self._run()

    def finish(self, *, cut_off: bool) -> list[CallEvent]:
        self._ended, self._cut_off = True, cut_off
        return self._run()

    def _run(self) -> list[CallEvent]:
        while self._state():
            pass
        events, self._events = self._events, []
        return events

    def _read_text(self) -> bool:
        mark = self._buffer.find(OPEN)
        end = mark if mark >= 0 else len(self._buffer) - _overlap(self._buffer, OPEN)
        self._show(end - self._trailing_space(end))
        if mark >= 0:
            self._space_length = self._buffer.find(OPEN)
            self._scanner, self._scanned = JsonScanner(), self._space_length + len(OPEN)
            self._state = self._read_json
            return True
        if self._ended:
            self._finish_text()
        return False

    def _finish_text(self) -> None:
        partial_mark = _overlap(self._buffer, OPEN)
        end = len(self._buffer) - partial_mark if self._cut_off else len(self._buffer)
        if self._cut_off and partial_mark:
            end -= self._trailing_space(end)
        elif self._has_calls:
            end = len(self._buffer[:end].rstrip())
        self._show(end)
        self._drop(len(self._buffer))

    def _trailing_space(self, end: int) -> int:
        """Length of the white space before `end` that belongs to a call, if one follows."""
        text = self._buffer[:end]
        if self._has_calls:
            return len(text) - len(text.rstrip())
        if self._blank and not text.strip() and len(text) <= _MAX_LEADING_SPACE:
            return len(text)
        return int(text.endswith("\n"))

    def _show(self, end: int) -> None:
        """The buffer up to `end` is text. White space between a call and the text after it is dropped."""
        if self._has_calls and self._blank:
            space = end - len(self._buffer[:end].lstrip())
            self._drop(space)
            end -= space
        if end > 0:
            self._events.append(VisibleText(self._buffer[:end], self._offset))
            self._blank = False
            self._drop(end)

    def _drop(self, count: int) -> None:
        self._buffer, self._offset = self._buffer[count:], self._offset + count

    def _read_json(self) -> bool:
        """The buffer begins with white space and the opening mark."""
        start = self._space_length + len(OPEN)
        header = _HEADER.match(self._buffer, start)
        name = _json_string(header[1]) if header else None
        if header and name is not None:
            self._begin_call(name)
            self._drop(header.end())
            self._scanner, self._state = JsonScanner(), self._read_arguments
            return True
        first = _SPACE.match(self._buffer, start).end()  # type: ignore[union-attr]  # matches always
        if self._buffer[first : first + 1] not in ("", "{"):
            return self._take_as_text()
        end = self._scanner.feed(self._buffer[self._scanned :])
        if end is not None:
            return self._read_complete_json(self._buffer[first : self._scanned + end], self._scanned + end)
        self._scanned = len(self._buffer)
        return self._finish_json(start) if self._ended else False

    def _read_complete_json(self, text: str, end: int) -> bool:
        call = _parse_call(text)
        if call is None:
            return self._take_as_text()
        self._begin_call(call[0])
        self._events.append(ArgumentsText(call[1]))
        self._drop(end)
        self._state = self._read_closing_mark
        return True

    def _finish_json(self, start: int) -> bool:
        if not self._cut_off:
            return self._take_as_text()
        partial = _NAME_ONLY.match(self._buffer, start)
        name = _json_string(partial[1]) if partial else None
        if name is not None:
            self._begin_call(name)
        self._drop(len(self._buffer))
        return False

    def _take_as_text(self) -> bool:
        """The opening mark begins no call."""
        self._show(self._space_length + len(OPEN))
        self._state = self._read_text
        return True

    def _begin_call(self, name: str) -> None:
        self._events.append(CallStart(name))
        self._has_calls = self._blank = True

    def _read_arguments(self) -> bool:
        end = self._scanner.feed(self._buffer)
        text = self._buffer if end is None else self._buffer[:end]
        if text:
            self._events.append(ArgumentsText(text))
            self._drop(len(text))
        if end is None:
            return False
        self._state = self._read_json_end
        return True

    def _read_json_end(self) -> bool:
        """The bracket that closes the call, and members behind its arguments, which have no meaning."""
        self._drop(len(self._buffer) - len(self._buffer.lstrip()))
        if not self._buffer:
            return False
        if self._buffer[0] == "}":
            self._drop(1)
        elif self._buffer[0] == ",":
            self._scanner, self._state = JsonScanner(depth=1), self._read_more_members
            return True
        self._state = self._read_closing_mark
        return True

    def _read_more_members(self) -> bool:
        end = self._scanner.feed(self._buffer)
        self._drop(len(self._buffer) if end is None else end)
        if end is not None:
            self._state = self._read_closing_mark
        return end is not None

    def _read_closing_mark(self) -> bool:
        self._drop(len(self._buffer) - len(self._buffer.lstrip()))
        if self._buffer.startswith(CLOSE):
            self._drop(len(CLOSE))
        elif CLOSE.startswith(self._buffer):
            if not self._ended:
                return False
            if self._cut_off:
                self._drop(len(self._buffer))
        self._state = self._read_text
        return True


def _parse_call(text: str) -> tuple[str, str] | None:
    """(name, JSON text of the arguments) of a complete JSON object; None for one that is no call.

    Half a character, of which a model may write the escape, stays an escape.
    """
    try:
        value = lossless_json.DECODER.decode(text)
        arguments = value.get("arguments", {})
        if isinstance(arguments, str):  # JSON in a string, as on the wire
            arguments = lossless_json.DECODER.decode(arguments)
        arguments = {} if arguments is None else arguments
        encoded = lossless_json.dumps(arguments)
    except (ValueError, AttributeError, RecursionError):
        return None
    name = value.get("name")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return name, "".join(f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char for char in encoded)


def _json_string(text: str) -> str | None:
    try:
        return str(json.loads(text))
    except ValueError:
        return None


def _overlap(text: str, mark: str) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of `mark`."""
    sizes = range(min(len(mark) - 1, len(text)), 0, -1)
    return next((size for size in sizes if mark.startswith(text[-size:])), 0)
