"""Incremental reader of the Hermes form: reports text and calls as soon as they are certain.

A call whose JSON begins with the name, followed by the arguments, is reported while it is being written. With another
order of the members, it is reported once the JSON is complete.
"""

import re
from collections.abc import Callable

from luthier.data.rendering.call_form import ArgumentsText
from luthier.data.rendering.call_text_reader import CallTextReader
from luthier.data.rendering.json_call import NAME, JsonScanner, json_string, parse_call

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_NAME_ONLY = re.compile(NAME, re.DOTALL)
_HEADER = re.compile(NAME + r'\s*,\s*"arguments"\s*:\s*(?=\{)', re.DOTALL)
_SPACE = re.compile(r"\s*")


class HermesReader(CallTextReader):
    """Its states: text, the JSON of a call, its arguments, the rest of its JSON, its closing mark."""

    def __init__(self) -> None:
        super().__init__([OPEN])
        self._scanner, self._scanned = JsonScanner(), 0

    def _open_call(self, mark: str) -> Callable[[], bool]:
        self._scanner, self._scanned = JsonScanner(), self._space_length + len(mark)
        return self._read_json

    def _read_json(self) -> bool:
        """Reads the JSON of a call; the buffer begins with white space and the opening mark."""
        start = self._space_length + len(OPEN)
        header = _HEADER.match(self._buffer, start)
        name = json_string(header[1]) if header else None
        if header and name is not None:
            self._begin_call(name)
            self._drop(header.end())
            self._scanner, self._state = JsonScanner(), self._read_arguments
            return True
        first = _SPACE.match(self._buffer, start).end()  # type: ignore[union-attr]  # matches always
        if self._buffer[first : first + 1] not in ("", "{"):
            return self._take_as_text(OPEN)
        end = self._scanner.feed(self._buffer[self._scanned :])
        if end is not None:
            return self._read_complete_json(self._buffer[first : self._scanned + end], self._scanned + end)
        self._scanned = len(self._buffer)
        return self._finish_json(start) if self._ended else False

    def _read_complete_json(self, text: str, end: int) -> bool:
        call = parse_call(text)
        if call is None:
            return self._take_as_text(OPEN)
        self._begin_call(call[0])
        self._events.append(ArgumentsText(call[1]))
        self._drop(end)
        self._state = self._read_closing_mark
        return True

    def _finish_json(self, start: int) -> bool:
        if not self._cut_off:
            return self._take_as_text(OPEN)
        partial = _NAME_ONLY.match(self._buffer, start)
        name = json_string(partial[1]) if partial else None
        if name is not None:
            self._begin_call(name)
        self._drop(len(self._buffer))
        return False

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
        """Reads the bracket that closes the call, and any members after its arguments, which are ignored."""
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
