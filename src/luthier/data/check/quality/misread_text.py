"""UTF-8 that a program read in another encoding and wrote so: 浣犲ソ for 你好, ÐŸÑ€Ð¸Ð²ÐµÑ‚ for Привет.

Such text shows by itself: written back in that encoding, its bytes are UTF-8, which other text almost never is.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import product

_DOUBLE = ("gb18030", "big5", "cp932", "cp949")  # encodings of two bytes for a character
_SINGLE = ("cp1252", "latin-1", "cp1251")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_LONGEST_RUN = 60  # characters that are written back
_LEADS = bytes((0xD0, 0xD1, *range(0xE2, 0xEA), 0xEF))  # of Cyrillic, punctuation, Han, kana and full-width signs
_MIN_CHARACTERS = 2  # that come out; one alone may be chance
_CERTAIN_CHARACTERS = 5  # that come out of no other text, even of common characters


def first_characters() -> set[str]:
    """Characters of which such text has at least one; few other texts have any, as common ones are left out."""
    singles, pairs = _beginnings()
    return {char for char in singles if not _is_common_han(char)} | {pair[0] for pair in pairs}


@cache
def _beginnings() -> tuple[frozenset[str], frozenset[str]]:
    """Single characters and pairs of them with which such text begins."""
    leads = [bytes(pair) for pair in product(_LEADS, range(0x80, 0xC0))]
    texts = {lead.decode(codec, "ignore") for lead in leads for codec in (*_DOUBLE, *_SINGLE)}
    return frozenset(text for text in texts if len(text) == 1), frozenset(text for text in texts if len(text) == 2)


def misread_text(text: str) -> tuple[str, str] | None:
    """(the damaged characters, what they were), for the first that are damaged; None without any."""
    singles, pairs = _beginnings()
    for match in _NON_ASCII.finditer(text):
        start = match.start()
        if text[start] not in singles and text[start : start + 2] not in pairs:
            continue
        run = text[start : start + _LONGEST_RUN]
        run = run[: next((size for size, char in enumerate(run) if char.isascii()), len(run))]
        for original in _originals(run):
            return run, original
    return None


def _originals(run: str) -> Iterator[str]:
    for codec in (*_DOUBLE, *_SINGLE):
        try:
            written = run.encode(codec)
        except UnicodeEncodeError:
            continue
        original = written.decode("utf-8", "replace").rstrip("\ufffd")  # the last character may have been cut
        if "\ufffd" in original or len(original) < _MIN_CHARACTERS or len(written) < 2 * len(original):
            continue
        is_whole = len(original.encode()) >= len(written) - 2 and original.isprintable()
        if is_whole and (len(original) >= _CERTAIN_CHARACTERS or not _is_plain(run, codec)):
            yield original


def _is_plain(run: str, codec: str) -> bool:
    """Whether most characters are common ones of Chinese (GB 2312, level 1), which such text is not made of."""
    if codec not in _DOUBLE:
        return False
    return sum(map(_is_common_han, run)) * 2 > len(run)


def _is_common_han(char: str) -> bool:
    pair = char.encode("gb2312", "ignore")
    return len(pair) == 2 and 0xB0 <= pair[0] <= 0xD7
