"""Bulk validation: finds the lines of a block that are certainly valid chat examples, so only the others are parsed.

It takes a few passes over the bytes of a block. They are checked to be UTF-8, quotation marks inside strings are
masked, and one regular expression (run by C) then matches line after line of the commonest form: nothing but
`messages`, each with a role and a text that is not blank, the last from the assistant. A line that matches has no
structural fault. A line that does not match is not necessarily faulty: the full check decides. A test compares the two
on random files.
"""

import re
from codecs import utf_8_decode
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Positions = NDArray[np.intp]

_QUOTE, _BACKSLASH, _NEWLINE, _RETURN, _MASK = b'"\\\n\r_'

# What `str.strip` removes, in UTF-8 and as escapes in JSON.
_WHITE_SPACE = (
    r"(?:\x20|\\[fnrt]|\\u(?:00(?:0[9A-Da-d]|1[C-Fc-f]|20|85|[Aa]0)|1680|20(?:0[0-9Aa]|2[89Ff]|5[Ff])|3000)"
    r"|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
)


def _line_pattern(comma: str, colon: str) -> re.Pattern[bytes]:
    """A pattern of one or more lines. It never matches two quotation marks in a row; `_mask_strings` relies on that."""
    opening = rf'\{{"role"{colon}"'
    text = rf'"{comma}"content"{colon}"(?!{_WHITE_SPACE}*+")[^"]++"\}}'
    turn = rf"(?:(?:user|system|developer){text}{comma}{opening})*+assistant{text}"
    line = rf'\{{"messages"{colon}\[{opening}{turn}(?:{comma}{opening}{turn})*+\]\}}\r?\n'
    return re.compile(f"(?:{line})++".encode())


_SPACED, _COMPACT = _line_pattern(", ", ": "), _line_pattern(",", ":")
_PIECE_BYTES = 16 * 1024
_AFTER_KEY = len('{"messages":')  # the byte at this offset, a space or a bracket, selects the pattern


def _membership_table(characters: bytes) -> NDArray[np.bool_]:
    table = np.zeros(256, bool)
    table[list(characters)] = True
    return table


_ESCAPABLE = _membership_table(b'"\\/bfnrt')
_HEX = _membership_table(b"0123456789abcdefABCDEF")
_SURROGATE_DIGITS = _membership_table(b"89abcdefABCDEF")  # \ud8 to \udf are surrogates


class Run(NamedTuple):
    """Consecutive lines of a block: its bytes from `start` up to `end`. `line_count` is 0 unless `is_valid`."""

    start: int
    end: int
    line_count: int
    is_valid: bool


def find_runs(lines: memoryview) -> list[Run]:
    """Splits a block of whole lines, each with its line feed, into runs of valid lines and of others, in order.

    The bytes must be writable: they are modified during the scan and restored before this returns.
    """
    if not _is_utf8(lines):
        return [Run(0, len(lines), 0, False)]
    block = _MaskedBlock(lines)
    try:
        return list(block.runs())
    finally:
        block.restore()


class _MaskedBlock:
    """Lines in which escaped quotation marks are masked, and lines with an invalid escape are made not to match."""

    def __init__(self, lines: memoryview) -> None:
        self._lines = lines
        self._bytes: Bytes = np.frombuffer(lines, np.uint8)
        is_special = self._bytes < 32
        is_special |= self._bytes == _BACKSLASH
        special = np.flatnonzero(is_special)
        kind = self._bytes[special]
        self._line_feeds = special[kind == _NEWLINE]
        control = special[(kind < 32) & (kind != _NEWLINE)]
        uncertain = self._line_feeds[:-1][~self._begins_example(self._line_feeds[:-1] + 1)]
        self._mask_strings(escape_positions(special[kind == _BACKSLASH]), control, uncertain)

    def runs(self) -> Iterator[Run]:
        position, pending = 0, 0  # lines that do not match are pending from `pending` on
        while position < len(self._lines):
            spaced = self._lines[position + _AFTER_KEY : position + _AFTER_KEY + 1].tobytes() == b" "
            match = (_SPACED if spaced else _COMPACT).match(self._lines, position)
            if match is None:
                position = int(self._line_feeds[np.searchsorted(self._line_feeds, position)]) + 1
                continue
            if pending < position:
                yield Run(pending, position, 0, False)
            start, position = position, match.end()
            first, last = np.searchsorted(self._line_feeds, (start, position))
            yield Run(start, position, int(last - first), True)
            pending = position
        if pending < position:
            yield Run(pending, position, 0, False)

    def restore(self) -> None:
        """Restores the original bytes."""
        self._bytes[self._changed] = self._original

    def _begins_example(self, positions: Positions) -> NDArray[np.bool_]:
        """Whether `{"m` starts at each position. A line feed before it cannot be inside a text of a matching line.

        If it were, the quotation mark after the brace would end that text, after which the pattern allows no `m`.
        """
        brace, quote, m = (self._bytes.take(positions + offset, mode="clip") for offset in range(3))
        result: NDArray[np.bool_] = (brace == ord("{")) & (quote == _QUOTE) & (m == ord("m"))
        return result

    def _mask_strings(self, escapes: Positions, control: Positions, line_feeds: Positions) -> None:
        """Masks every escaped quotation mark, and makes lines with an invalid escape unable to match.

        The same is done to lines with a raw control character, and to those that end at one of `line_feeds`, which may
        be inside a text.
        """
        escaped = self._bytes[escapes + 1]
        valid = _ESCAPABLE[escaped]
        invalid = line_feeds
        if control.size:  # a return belongs to the line ending if a line feed follows; a block ends with a line feed
            raw = control[(self._bytes[control] != _RETURN) | (self._bytes[control + 1] != _NEWLINE)]
            invalid = np.concatenate([line_feeds, raw])
        if not valid.all():
            valid |= (escaped == ord("u")) & self._is_character(escapes)
            invalid = np.concatenate([invalid, escapes[~valid]])
        changed = quotes = escapes[escaped == _QUOTE] + 1
        if invalid.size:
            # The pattern never matches two quotation marks in a row. A block ends with a line feed, so there is room.
            invalid = np.concatenate([invalid, invalid + 1])
            changed = np.concatenate([quotes, invalid])
        self._changed, self._original = changed, self._bytes[changed]
        self._bytes[quotes] = _MASK
        self._bytes[invalid] = _QUOTE

    def _is_character(self, escapes: Positions) -> NDArray[np.bool_]:
        """Whether four hexadecimal digits follow each `\\u`, and do not encode a surrogate."""
        last = len(self._bytes) - 1
        digits = [self._bytes[np.minimum(escapes + offset, last)] for offset in range(2, 6)]
        surrogate = ((digits[0] | 32) == ord("d")) & _SURROGATE_DIGITS[digits[1]]
        is_hex = _HEX[digits[0]] & _HEX[digits[1]] & _HEX[digits[2]] & _HEX[digits[3]]
        result: NDArray[np.bool_] = is_hex & ~surrogate
        return result


def escape_positions(backslashes: Positions) -> Positions:
    """The positions of backslashes that start an escape: in a run of backslashes, every second one is escaped."""
    if not (backslashes[1:] - backslashes[:-1] == 1).any():
        return backslashes
    number = np.arange(len(backslashes))
    begins = np.diff(backslashes, prepend=-2) != 1
    in_row = number - np.maximum.accumulate(np.where(begins, number, 0))
    escaping: Positions = backslashes[in_row % 2 == 0]
    return escaping


def _is_utf8(lines: memoryview) -> bool:
    """Whether the bytes are UTF-8. They are decoded in pieces that fit into the CPU cache."""
    start = 0
    try:
        while start < len(lines):
            end = start + _PIECE_BYTES
            start += utf_8_decode(lines[start:end], "strict", end >= len(lines))[1]
    except UnicodeDecodeError:
        return False
    return True
