"""Endless answers: a generator that fell into a loop writes one sentence until it reaches its token limit."""

from typing import NamedTuple

MIN_CHARACTERS = 400  # of an answer, and of its repetitive part; a shorter repetition may be emphasis
_MIN_TIMES = 8
_MIN_SHARE = 0.5  # of the answer
_PROBE = 24  # characters at the end, whose previous occurrence shows the period of the repetition


class Repetition(NamedTuple):
    """What a text repeats, and how often."""

    unit: str
    times: int


def endless_repetition(text: str) -> Repetition | None:
    """The words that a text repeats up to its end, or nearly; None for any other text.

    A repeated part without letters, such as the rules of a table, does not count.
    """
    if len(text) < MIN_CHARACTERS:
        return None
    for end in (len(text), len(text) - len(text) // 10):  # other words may follow the repetition
        period = end - _PROBE - text.rfind(text[end - _PROBE : end], 0, end - 1)
        if not 0 < period <= end // _MIN_TIMES:
            continue
        length = period + _shared_ending(text, end - period, end)
        unit = text[end - period : end]
        if length >= max(MIN_CHARACTERS, _MIN_SHARE * len(text)) and length >= _MIN_TIMES * period:
            return Repetition(unit.strip(), length // period) if sum(map(str.isalpha, unit)) >= 2 else None
    return None


def _shared_ending(text: str, first: int, second: int) -> int:
    """The number of characters before `first` that are also those before `second`, found by halving."""
    low, high = 0, first
    while low < high:
        size = (low + high + 1) // 2
        if text[first - size : first] == text[second - size : second]:
            low = size
        else:
            high = size - 1
    return low
