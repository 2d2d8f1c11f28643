"""Checks that the values of a call occur in the user's message.

A call with values that the user did not mention teaches a model to invent them. Numbers may be written in digits or, up
to 99, in words. Text is compared without regard to case, character width, spaces and punctuation. Booleans have no
words of their own and are not checked.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

_DIGITS = "零一二三四五六七八九"
_ONES = "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
_SMALL = f"{_ONES}|seventeen|eighteen|nineteen|twenty".split("|")
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_UNITS = {"百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000}
_NUMBER = re.compile(r"(-?\d[\d,]*(?:\.\d+)?)\s*([百千万亿]?)")


def missing_values(text: str, arguments: Mapping[str, Any]) -> list[str]:
    """The names of the arguments whose value does not occur in `text`."""
    normalized, numbers = unicodedata.normalize("NFKC", text).lower(), _numbers(text)

    def occurs(value: Any) -> bool:
        return all(_occurs(leaf, normalized, numbers) for leaf in _leaf_values(value))

    return [name for name, value in arguments.items() if not occurs(value)]


def chinese_number(value: int) -> str:
    """0 to 99 in Chinese numerals; digits for other numbers."""
    if not 0 <= value <= 99:
        return str(value)
    tens, ones = divmod(value, 10)
    if not tens:
        return _DIGITS[ones]
    return ("" if tens == 1 else _DIGITS[tens]) + "十" + (_DIGITS[ones] if ones else "")


def _leaf_values(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaf_values(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaf_values(inner)
    else:
        yield value


def _occurs(value: Any, text: str, numbers: set[float]) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, (int, float)):
        return float(value) in numbers or (isinstance(value, int) and _occurs_in_words(value, text))
    return _normalize(str(value)) in _normalize(text)


def _normalize(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())


def _numbers(text: str) -> set[float]:
    """Every number that the text has in digits; 1万 counts as 10000."""
    numbers = set()
    for digits, unit in _NUMBER.findall(unicodedata.normalize("NFKC", text)):
        number = float(digits.replace(",", ""))
        numbers |= {number * _UNITS.get(unit, 1)} | {abs(number)}
    return numbers


def _occurs_in_words(value: int, text: str) -> bool:
    """Whether a number from 0 to 99 occurs in words. 两 counts as 2; a numeral inside a longer one does not count."""
    if not 0 <= value <= 99:
        return False
    forms = [chinese_number(value)] + (["两"] if value == 2 else [])
    for form in forms:
        if re.search(rf"(?<![零一二三四五六七八九十百千万]){form}(?![零一二三四五六七八九十百千万])", text):
            return True
    tens, ones = divmod(value, 10)
    word = _SMALL[value] if value <= 20 else _TENS[tens] + (f"[- ]?{_SMALL[ones]}" if ones else "")
    return bool(re.search(rf"\b{word}\b(?![- ](?:{_ONES})\b)", text))
