"""Translates arguments that are not written as JSON into the JSON text of an object."""

import re
from typing import ClassVar

from luthier.data.jsonl import lossless_json

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[^\s,:=(){}\[\]'\"<]+")
_SPACE = re.compile(r"\s*")
_LITERALS = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}


class CutOffError(Exception):
    """The text ends inside the arguments."""


class ArgumentTranslator:
    """Reads one text from `position` on.

    `written`: the JSON text so far. If the text ends inside a value, it is the beginning of correct JSON.
    """

    quotes: ClassVar[tuple[str, ...]]  # marks that open a string

    def __init__(self, text: str, position: int) -> None:
        self.text, self.position, self.written = text, position, ""

    def members(self, opening: str, assign: str, closing: str) -> None:
        """Reads names and values between brackets. Raises CutOffError, and ValueError for any other text."""
        self.expect(opening)
        self.written += "{"
        is_first = True
        while not self.skip(closing):
            if not is_first:
                self.expect(",")
            before = "" if is_first else ", "
            self.written += f"{before}{self._name(assign)}: "
            self._value()
            is_first = False
        self.written += "}"

    def _name(self, assign: str) -> str:
        """The JSON of the name before `assign`, which may be in quotes."""
        outer, self.written = self.written, ""
        try:
            quote = next((mark for mark in self.quotes if self.skip(mark)), None)
            if quote is not None:
                self._string(quote)
            else:
                self.written = lossless_json.dumps(self._bare_name(assign))
            self.expect(assign)
            return self.written
        finally:
            self.written = outer

    def _bare_name(self, assign: str) -> str:
        place = self.text.find(assign, self.position)
        if place < 0:
            raise CutOffError
        name = self.text[self.position : place]
        if not name.strip() or any(mark in name for mark in (*"{}[](),'\"", *self.quotes)):
            raise ValueError("no name")
        self.position = place
        return name

    def _value(self) -> None:
        quote = next((mark for mark in self.quotes if self.skip(mark)), None)
        if quote is not None:
            self._string(quote)
        elif self.skip("["):
            self._elements()
        elif self._starts_with("{"):
            self.members("{", ":", "}")
        else:
            self._word()

    def _elements(self) -> None:
        self.written += "["
        is_first = True
        while not self.skip("]"):
            if not is_first:
                self.expect(",")
                self.written += ", "
            self._value()
            is_first = False
        self.written += "]"

    def _word(self) -> None:
        """Reads a number, true, false or null."""
        match = _WORD.match(self.text, self.position)
        word = match[0] if match else ""
        is_number = bool(_NUMBER.fullmatch(word))
        self.position += len(word)
        if self.position == len(self.text):  # more of it may follow
            self.written += word if is_number else ""
            raise CutOffError
        if not is_number and word not in _LITERALS:
            raise ValueError("no value")
        self.written += word if is_number else _LITERALS[word]

    def _string(self, quote: str) -> None:
        """Reads the rest of a string after its opening mark."""
        raise NotImplementedError

    def expect(self, text: str) -> None:
        """Skips `text`. Raises CutOffError, and ValueError if it does not follow."""
        if not self.skip(text):
            raise ValueError(f"no {text}")

    def skip(self, text: str) -> bool:
        """Whether `text` follows, after white space; if so, it is skipped. Raises CutOffError."""
        if not self._starts_with(text):
            return False
        self.position += len(text)
        return True

    def _starts_with(self, text: str) -> bool:
        """Whether `text` follows, after white space. Raises CutOffError if only its beginning does."""
        self.position = _SPACE.match(self.text, self.position).end()  # type: ignore[union-attr]  # matches always
        if len(self.text) - self.position < len(text) and text.startswith(self.text[self.position :]):
            raise CutOffError
        return self.text.startswith(text, self.position)
