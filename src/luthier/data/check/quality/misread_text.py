"""UTF-8 text that a program decoded with another encoding: 浣犲ソ for 你好, ÐŸÑ€Ð¸Ð²ÐµÑ‚ for Привет.

Such text can be recognised: encoded back, its bytes are valid UTF-8, which is almost never true of other text.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import product

_DOUBLE = ("gb18030", "big5", "cp932", "cp949")  # encodings with two bytes per character
_SINGLE = ("cp1252", "latin-1", "cp1251")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_LONGEST_RUN = 60  # characters that are encoded back
_LEADS = bytes((0xD0, 0xD1, *range(0xE2, 0xEA), 0xEF))  # of Cyrillic, punctuation, Han, kana and full-width signs
_MIN_CHARACTERS = 2  # of the decoded text; a single one may be chance
_CERTAIN_CHARACTERS = 5  # of the decoded text; so many are never chance, even if the characters are common


def first_characters() -> set[str]:
    """Characters of which misread text has at least one. Common characters are left out, so few other texts do."""
    singles, pairs = _beginnings()
    return {char for char in singles if not _is_common_han(char)} | {pair[0] for pair in pairs}


@cache
def _beginnings() -> tuple[frozenset[str], frozenset[str]]:
    """The single characters and the pairs of characters with which misread text begins."""
    leads = [bytes(pair) for pair in product(_LEADS, range(0x80, 0xC0))]
    texts = {lead.decode(codec, "ignore") for lead in leads for codec in (*_DOUBLE, *_SINGLE)}
    return frozenset(text for text in texts if len(text) == 1), frozenset(text for text in texts if len(text) == 2)


def misread_text(text: str) -> tuple[str, str] | None:
    """(the first run of damaged characters, the original text); None if there are none."""
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
    """Whether most characters are common Chinese ones (GB 2312, level 1), of which misread text has few."""
    if codec not in _DOUBLE:
        return False
    return sum(map(_is_common_han, run)) * 2 > len(run)


def _is_common_han(char: str) -> bool:
    pair = char.encode("gb2312", "ignore")
    return len(pair) == 2 and 0xB0 <= pair[0] <= 0xD7
