"""Incremental reader of text with calls in it: the base class of the readers of all call forms."""

from collections.abc import Callable, Sequence

from luthier.data.rendering.call_form import CallEvent, CallStart, VisibleText

_MAX_LEADING_SPACE = 32  # characters of leading white space that are held back for a call; more are text


class CallTextReader:
    """A state machine: text up to the mark that opens a call, then the states of the subclass.

    A state consumes a part of the buffer and returns whether the next state can continue with the rest.
    """

    def __init__(self, marks: Sequence[str], *, at_start: bool = False) -> None:
        """`marks`: the texts that open a call. `at_start`: only white space and other calls may precede a call."""
        self._marks, self._at_start = marks, at_start
        self._buffer, self._offset = "", 0  # unread text, and its place in the generated text
        self._events: list[CallEvent] = []
        self._state: Callable[[], bool] = self._read_text
        self._has_calls = False
        self._blank = True  # no visible text since the beginning or the last call
        self._space_length = 0  # the length of the white space before the opening mark, which belongs to the call
        self._ended, self._cut_off = False, False

    def feed(self, piece: str) -> list[CallEvent]:
        self._buffer += piece
        return self._run()

    def finish(self, *, cut_off: bool) -> list[CallEvent]:
        self._ended, self._cut_off = True, cut_off
        return self._run()

    def _open_call(self, mark: str) -> Callable[[], bool]:
        """The state that reads the call; the buffer begins with white space and `mark`."""
        raise NotImplementedError

    def _run(self) -> list[CallEvent]:
        while self._state():
            pass
        events, self._events = self._events, []
        return events

    def _read_text(self) -> bool:
        place, mark = self._find_mark()
        end = place if mark else len(self._buffer) - self._partial_mark()
        self._show(end - self._trailing_space(end))
        if mark:
            self._space_length = self._buffer.find(mark)
            self._state = self._open_call(mark)
            return True
        if self._ended:
            self._finish_text()
        return False

    def _find_mark(self) -> tuple[int, str]:
        """(place, mark) of the first opening mark; the mark is empty if there is none."""
        places = [(place, mark) for mark in self._marks if (place := self._buffer.find(mark)) >= 0]
        place, mark = min(places, default=(-1, ""))
        if mark and self._at_start and not (self._blank and not self._buffer[:place].strip()):
            return -1, ""
        return place, mark

    def _partial_mark(self) -> int:
        """The length of the buffer's end that may be the beginning of a mark."""
        size = max(overlap(self._buffer, mark) for mark in self._marks)
        if self._at_start and not (self._blank and not self._buffer[: len(self._buffer) - size].strip()):
            return 0
        return size

    def _finish_text(self) -> None:
        partial_mark = self._partial_mark()
        end = len(self._buffer) - partial_mark if self._cut_off else len(self._buffer)
        if self._cut_off and partial_mark:
            end -= self._trailing_space(end)
        elif self._has_calls:
            end = len(self._buffer[:end].rstrip())
        self._show(end)
        self._drop(len(self._buffer))

    def _trailing_space(self, end: int) -> int:
        """The length of the white space before `end` that belongs to a call, if one follows."""
        text = self._buffer[:end]
        if self._has_calls:
            return len(text) - len(text.rstrip())
        if self._blank and not text.strip() and len(text) <= _MAX_LEADING_SPACE:
            return len(text)
        return int(text.endswith("\n"))

    def _show(self, end: int) -> None:
        """Emits the buffer up to `end` as text. White space between a call and the text after it is dropped."""
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

    def _take_as_text(self, mark: str) -> bool:
        """Emits the opening mark as text, because it does not begin a call."""
        self._show(self._space_length + len(mark))
        self._state = self._read_text
        return True

    def _begin_call(self, name: str) -> None:
        self._events.append(CallStart(name))
        self._has_calls = self._blank = True


def overlap(text: str, mark: str) -> int:
    """The length of the longest suffix of `text` that is a proper prefix of `mark`."""
    sizes = range(min(len(mark) - 1, len(text)), 0, -1)
    return next((size for size in sizes if mark.startswith(text[-size:])), 0)
