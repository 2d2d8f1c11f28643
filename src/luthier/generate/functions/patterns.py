"""Text that fits a simple pattern: fixed characters, \\d, [A-Z], [a-z], [0-9], each with a count.

That covers codes and numbers, which is what patterns in definitions mostly are; for any other pattern nothing is made.
"""

import random
import re
import string

_SETS = {r"\d": string.digits, "[0-9]": string.digits, "[A-Z]": string.ascii_uppercase, "[a-z]": string.ascii_lowercase}
_PIECE = re.compile(r"(\\d|\[0-9\]|\[A-Z\]|\[a-z\]|\\[.+-]|[\w\- /:])(?:\{(\d{1,2})(?:,\d*)?\})?")


def from_pattern(pattern: str, seed: str, count: int = 12) -> list[str]:
    """Up to `count` texts; empty when the pattern holds anything else."""
    inside = pattern.removeprefix("^").removesuffix("$")
    pieces, at = [], 0
    while at < len(inside):
        found = _PIECE.match(inside, at)
        if not found:
            return []
        pieces.append((found[1], int(found[2] or 1)))
        at = found.end()
    dice = random.Random(seed + pattern)  # noqa: S311 - made-up codes, no secret
    return ["".join(_piece(kind, times, dice) for kind, times in pieces) for _ in range(count)]


def _piece(kind: str, times: int, dice: random.Random) -> str:
    if kind in _SETS:
        return "".join(dice.choices(_SETS[kind], k=times))
    return kind[-1] * times
