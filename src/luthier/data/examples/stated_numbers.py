"""The numbers that a text states: in digits, with units such as 万 or k, as percentages, and in words."""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal

_UNITS = {
    "百": 100, "千": 1000, "万": 10_000, "亿": 100_000_000,
    "k": 1000, "hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000,
}  # fmt: skip
_TOO_LARGE = 1e15  # JSON readers represent integers up to this size exactly
_IN_DIGITS = re.compile(
    r"(?<![\d.])(-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?)\s*"
    r"(%|[百千万亿]|(?:k|hundred|thousand|million|billion)\b)?"
)
_CHINESE_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_CHINESE_UNITS = {"十": 10, "百": 100, "千": 1000}
_CHINESE = re.compile(r"(?<!\d)(?<!\d )[零〇一二两三四五六七八九十百千万亿]+")
_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_IN_WORDS = re.compile(rf"\b(?:({'|'.join(_TENS)})[- ]({'|'.join(_WORDS[1:10])})|({'|'.join([*_TENS, *_WORDS])}))\b")


def stated_numbers(text: str) -> set[float]:
    """Every number in the text; for 45万 both 45 and 450000, for 4% both 4 and 0.04."""
    normalized = unicodedata.normalize("NFKC", text).lower()
    chinese = map(_chinese_number, _CHINESE.findall(normalized))
    return {n for n in (*_in_digits(normalized), *chinese, *_in_words(normalized)) if abs(n) < _TOO_LARGE}


def _in_digits(text: str) -> Iterator[float]:
    for digits, unit in _IN_DIGITS.findall(text):
        number = Decimal(digits.replace(",", ""))
        yield from (float(number), float(abs(number)))  # a hyphen before a number need not be a minus sign
        if unit:
            yield float(number / 100 if unit == "%" else number * _UNITS[unit])


def _chinese_number(numeral: str) -> float:
    """二十三 is 23, 一万二千 12000; digits without units are read one by one, as in 二〇二六."""
    if not any(char in "十百千万亿" for char in numeral):
        return float("".join(str(_CHINESE_DIGITS[char]) for char in numeral))
    total, section, digit = 0, 0, 0
    for char in numeral:
        if char in _CHINESE_DIGITS:
            digit = _CHINESE_DIGITS[char]
        elif char in _CHINESE_UNITS:
            section += (digit or 1) * _CHINESE_UNITS[char]
            digit = 0
        else:
            total = total + (section + digit or 1) * 10_000 if char == "万" else (total + section + digit or 1) * 10**8
            section = digit = 0
    return float(total + section + digit)


def _in_words(text: str) -> Iterator[float]:
    for tens, units, word in _IN_WORDS.findall(text):
        yield float(_TENS[tens] + _WORDS.index(units) if tens else _TENS.get(word) or _WORDS.index(word))
