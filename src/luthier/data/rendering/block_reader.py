"""Reader of call forms whose calls are parsed once they are complete."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from luthier.data.examples.messages import Call
from luthier.data.rendering.call_form import ArgumentsText
from luthier.data.rendering.call_text_reader import CallTextReader


@dataclass(frozen=True)
class Block:
    """The calls of a text that begins with an opening mark; they end at offset `end`."""

    calls: list[Call]
    end: int


class BlockParser(Protocol):
    def parse(self, text: str, *, ended: bool) -> Block | None:
        """The calls at the beginning of the text; None if it may still become a call.

        Args:
            text: Begins with an opening mark.
            ended: Whether the model has ended its answer, so that a closing mark may be missing.

        Raises:
            ValueError: The text does not begin with a call.
        """
        ...

    def parse_beginning(self, text: str) -> list[Call]:
        """The calls of a text that was cut off; the arguments of the last one may be the beginning of JSON."""
        ...


class BlockReader(CallTextReader):
    def __init__(self, parser: BlockParser, marks: Sequence[str], *, at_start: bool = False) -> None:
        super().__init__(marks, at_start=at_start)
        self._parser, self._mark = parser, ""

    def _open_call(self, mark: str) -> Callable[[], bool]:
        self._mark = mark
        return self._read_block

    def _read_block(self) -> bool:
        text = self._buffer[self._space_length :]
        try:
            block = self._parser.parse(text, ended=self._ended and not self._cut_off)
        except ValueError:
            return self._take_as_text(self._mark)
        if block is not None:
            self._add(block.calls)
            self._drop(self._space_length + block.end)
            self._state = self._read_text
            return True
        if not self._ended:
            return False
        if not self._cut_off:
            return self._take_as_text(self._mark)
        self._add(self._parser.parse_beginning(text))
        self._drop(len(self._buffer))
        self._state = self._read_text
        return False

    def _add(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self._begin_call(call.name)
            if call.arguments:
                self._events.append(ArgumentsText(call.arguments))
