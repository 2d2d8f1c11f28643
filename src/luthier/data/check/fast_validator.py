"""Proof in bulk that lines are clean chat examples, so that only the others need a careful look.

A block of lines is proved by a few passes over its bytes: its text is UTF-8, what stands between quotes is made
harmless, and one regular expression, run by C, then matches line after line of the commonest form: nothing but
`messages`, each with a role and a text, an assistant's at the end. What it matches has no fault of form; what it does
not match is not wrong, only not proved. This module judges nothing: a line that is not proved goes to `check`, whose
verdict is the only one, and a test holds the two to the same findings.
"""

import re
from codecs import utf_8_decode
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Places = NDArray[np.intp]

_QUOTE, _BACKSLASH, _NEWLINE, _RETURN, _HARMLESS = b'"\\\n\r_'


def _line_pattern(comma: str, colon: str) -> re.Pattern[bytes]:
    """One line or more. No part of it matches two quotes in a row, on which `_neutralise` relies."""
    opening = rf'\{{"role"{colon}"'
    text = rf'"{comma}"content"{colon}"[^"]++"\}}'
    turn = rf"(?:(?:user|system|developer){text}{comma}{opening})*+assistant{text}"
    line = rf'\{{"messages"{colon}\[{opening}{turn}(?:{comma}{opening}{turn})*+\]\}}\r?\n'
    return re.compile(f"(?:{line})++".encode())


_SPACED, _COMPACT = _line_pattern(", ", ": "), _line_pattern(",", ":")
_PIECE_BYTES = 16 * 1024
_AFTER_KEY = len('{"messages":')  # where a space or a bracket tells the one from the other


def _table(characters: bytes) -> NDArray[np.bool_]:
    table = np.zeros(256, bool)
    table[list(characters)] = True
    return table


_ESCAPABLE = _table(b'"\\/bfnrt')
_HEX = _table(b"0123456789abcdefABCDEF")
_HALVES = _table(b"89abcdefABCDEF")  # \ud8 to \udf are halves of characters


class Run(NamedTuple):
    """Consecutive lines of a block: its bytes from `start` up to `end`; how many lines, if they are proved."""

    start: int
    end: int
    lines: int
    proved: bool


def runs(lines: memoryview) -> list[Run]:
    """A block of whole lines, each with its line feed, as runs of proved lines and of others, in order.

    The bytes must be writable; they are changed on the way and are what they were when this returns.
    """
    if not _is_utf8(lines):
        return [Run(0, len(lines), 0, False)]
    block = _Block(lines)
    try:
        return list(block.runs())
    finally:
        block.restore()


class _Block:
    """Lines whose strings hold no quote and no valid escape any more, and match only if they had no other."""

    def __init__(self, lines: memoryview) -> None:
        self._lines = lines
        self._bytes: Bytes = np.frombuffer(lines, np.uint8)
        is_special = self._bytes < 32
        is_special |= self._bytes == _BACKSLASH
        special = np.flatnonzero(is_special)
        kind = self._bytes[special]
        self._feeds = special[kind == _NEWLINE]
        control = special[(kind < 32) & (kind != _NEWLINE)]
        broken = self._feeds[:-1][~self._begins_example(self._feeds[:-1] + 1)]
        self._neutralise(escapes(special[kind == _BACKSLASH]), control, broken)

    def runs(self) -> Iterator[Run]:
        at, waiting = 0, 0  # lines that are not proved wait from `waiting` on
        while at < len(self._lines):
            spaced = self._lines[at + _AFTER_KEY : at + _AFTER_KEY + 1].tobytes() == b" "
            match = (_SPACED if spaced else _COMPACT).match(self._lines, at)
            if match is None:
                at = int(self._feeds[np.searchsorted(self._feeds, at)]) + 1
                continue
            if waiting < at:
                yield Run(waiting, at, 0, False)
            start, at = at, match.end()
            first, last = np.searchsorted(self._feeds, (start, at))
            yield Run(start, at, int(last - first), True)
            waiting = at
        if waiting < at:
            yield Run(waiting, at, 0, False)

    def restore(self) -> None:
        """The bytes as they were."""
        self._bytes[self._changed] = self._was

    def _begins_example(self, places: Places) -> NDArray[np.bool_]:
        """Whether `{"m` stands there. A line feed before it cannot be part of a text in a line that matches.

        For then the mark after the bracket would end the text, and after the end of a text the pattern has no `m`.
        """
        brace, quote, m = (self._bytes.take(places + offset, mode="clip") for offset in range(3))
        result: NDArray[np.bool_] = (brace == ord("{")) & (quote == _QUOTE) & (m == ord("m"))
        return result

    def _neutralise(self, escapes: Places, control: Places, feeds: Places) -> None:
        """Take the meaning from every valid escape, and keep lines with an invalid one from ever matching.

        So too lines with a raw control character, and lines that end at one of `feeds`, which may stand in a text.
        """
        escaped = self._bytes[escapes + 1]
        valid = _ESCAPABLE[escaped]
        spoiled = feeds
        if control.size:  # a return is part of the line's end if a line feed follows; a line feed is always there
            raw = control[(self._bytes[control] != _RETURN) | (self._bytes[control + 1] != _NEWLINE)]
            spoiled = np.concatenate([feeds, raw])
        if not valid.all():
            valid |= (escaped == ord("u")) & self._is_character(escapes)
            spoiled = np.concatenate([spoiled, escapes[~valid]])
        changed = quotes = escapes[escaped == _QUOTE] + 1
        if spoiled.size:
            # Two quotes in a row match nowhere in the pattern, and a block ends with a line feed, so there is room.
            spoiled = np.concatenate([spoiled, spoiled + 1])
            changed = np.concatenate([quotes, spoiled])
        self._changed, self._was = changed, self._bytes[changed]
        self._bytes[quotes] = _HARMLESS
        self._bytes[spoiled] = _QUOTE

    def _is_character(self, escapes: Places) -> NDArray[np.bool_]:
        """Whether four digits follow that are no half of a character."""
        last = len(self._bytes) - 1
        digits = [self._bytes[np.minimum(escapes + offset, last)] for offset in range(2, 6)]
        half = ((digits[0] | 32) == ord("d")) & _HALVES[digits[1]]
        result: NDArray[np.bool_] = _HEX[digits[0]] & _HEX[digits[1]] & _HEX[digits[2]] & _HEX[digits[3]] & ~half
        return result


def escapes(backslashes: Places) -> Places:
    """Of all backslashes those that escape what follows: in a row of them, every second one is itself escaped."""
    if not (backslashes[1:] - backslashes[:-1] == 1).any():
        return backslashes
    number = np.arange(len(backslashes))
    begins = np.diff(backslashes, prepend=-2) != 1
    in_row = number - np.maximum.accumulate(np.where(begins, number, 0))
    escaping: Places = backslashes[in_row % 2 == 0]
    return escaping


def _is_utf8(lines: memoryview) -> bool:
    """Piece by piece, because a small string lives in the processor's cache and is forgotten there."""
    at = 0
    try:
        while at < len(lines):
            end = at + _PIECE_BYTES
            at += utf_8_decode(lines[at:end], "strict", end >= len(lines))[1]
    except UnicodeDecodeError:
        return False
    return True
