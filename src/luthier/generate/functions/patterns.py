"""Generates text for simple regular expressions: literal characters, \\d, [A-Z], [a-z], [0-9], with optional counts.

They cover the codes and numbers that most `pattern` keywords of definitions describe.
"""

import random
import re
import string

_CHARACTER_SETS = {
    r"\d": string.digits,
    "[0-9]": string.digits,
    "[A-Z]": string.ascii_uppercase,
    "[a-z]": string.ascii_lowercase,
}
_ELEMENT = re.compile(r"(\\d|\[0-9\]|\[A-Z\]|\[a-z\]|\\[.+-]|[\w\- /:])(?:\{(\d{1,2})(?:,\d*)?\})?")


def from_pattern(pattern: str, seed: str, count: int = 12) -> list[str]:
    """`count` texts that match the pattern; empty if it contains an unsupported element."""
    body = pattern.removeprefix("^").removesuffix("$")
    elements, position = [], 0
    while position < len(body):
        match = _ELEMENT.match(body, position)
        if not match:
            return []
        elements.append((match[1], int(match[2] or 1)))
        position = match.end()
    rng = random.Random(seed + pattern)  # noqa: S311 - made-up codes, no secret
    return ["".join(_repeat(element, repetitions, rng) for element, repetitions in elements) for _ in range(count)]


def _repeat(element: str, count: int, rng: random.Random) -> str:
    if element in _CHARACTER_SETS:
        return "".join(rng.choices(_CHARACTER_SETS[element], k=count))
    return element[-1] * count
