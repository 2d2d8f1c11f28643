"""Whether the values of a call can be found in the words that ask for it.

A call whose values the user never said teaches a model to make values up. Numbers count as digits or in words, up to
what people write in words; text counts without case, width, spaces and punctuation. Truth values have no words of
their own and are not looked for.
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
    """The parameters whose value `text` does not hold."""
    words, said = unicodedata.normalize("NFKC", text).lower(), _numbers(text)
    return [name for name, value in arguments.items() if not all(_is_in(one, words, said) for one in _leaves(value))]


def chinese_number(value: int) -> str:
    """0 to 99 in Chinese numerals; digits beyond."""
    if not 0 <= value <= 99:
        return str(value)
    tens, ones = divmod(value, 10)
    if not tens:
        return _DIGITS[ones]
    return ("" if tens == 1 else _DIGITS[tens]) + "十" + (_DIGITS[ones] if ones else "")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _is_in(value: Any, words: str, said: set[float]) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, (int, float)):
        return float(value) in said or (isinstance(value, int) and _in_words(value, words))
    return _plain(str(value)) in _plain(words)


def _plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())


def _numbers(text: str) -> set[float]:
    """Every number that stands there in digits, 1万 as 10000."""
    found = set()
    for digits, unit in _NUMBER.findall(unicodedata.normalize("NFKC", text)):
        number = float(digits.replace(",", ""))
        found |= {number * _UNITS.get(unit, 1)} | {abs(number)}
    return found


def _in_words(value: int, words: str) -> bool:
    """两 stands for two before a measure word; a numeral inside a longer one does not count."""
    if not 0 <= value <= 99:
        return False
    forms = [chinese_number(value)] + (["两"] if value == 2 else [])
    for form in forms:
        if re.search(rf"(?<![零一二三四五六七八九十百千万]){form}(?![零一二三四五六七八九十百千万])", words):
            return True
    tens, ones = divmod(value, 10)
    word = _SMALL[value] if value <= 20 else _TENS[tens] + (f"[- ]?{_SMALL[ones]}" if ones else "")
    return bool(re.search(rf"\b{word}\b(?![- ](?:{_ONES})\b)", words))
