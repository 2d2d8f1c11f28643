"""A hundred short remarks, no two alike, for files whose examples share a long instruction."""

_COLOURS = ("red", "blue", "green", "black", "white")
_QUALITIES = ("round", "flat", "tall", "short", "warm", "cold", "soft", "hard", "old", "new", "thin")
_WORDS = _COLOURS + _QUALITIES
REMARKS = [f"{first} {second}" for first in _WORDS for second in _WORDS if first < second][:100]
