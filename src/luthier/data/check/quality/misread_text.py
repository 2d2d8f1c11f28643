"""UTF-8 that a program read in another encoding and wrote so: 浣犲ソ for 你好, ÐŸÑ€Ð¸Ð²ÐµÑ‚ for Привет.

Such text shows by itself: written back in that encoding, its bytes are UTF-8, which other text almost never is.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import product

_DOUBLE = ("gb18030", "big5", "cp932", "cp949")  # encodings of two bytes for a character
_SINGLE = ("cp1252", "latin-1", "cp1251")
_RUN = re.compile(r"[^\x00-\x7f]{2,60}")
_LEADS = bytes((0xD0, 0xD1, *range(0xE2, 0xEA), 0xEF))  # of Cyrillic, punctuation, Han, kana and full-width signs
_MIN_CHARACTERS = 2  # that come out; one alone may be chance
_CERTAIN_CHARACTERS = 5  # that come out of no other text, even of common characters


@cache
def beginnings() -> re.Pattern[str]:
    """Matches wherever such text may begin, and seldom elsewhere."""
    pairs = [bytes(pair) for pair in product(_LEADS, range(0x80, 0xC0))]
    double = {text for pair in pairs for codec in _DOUBLE if len(text := pair.decode(codec, "ignore")) == 1}
    single = {text for pair in pairs for codec in _SINGLE if len(text := pair.decode(codec, "ignore")) == 2}
    seconds: dict[str, set[str]] = {}
    for text in single:
        seconds.setdefault(text[0], set()).add(text[1])
    alternatives = [f"{first}[{re.escape(''.join(sorted(tails)))}]" for first, tails in sorted(seconds.items())]
    return re.compile("|".join((f"[{re.escape(''.join(sorted(double)))}]", *alternatives)))


def misread_text(text: str) -> tuple[str, str] | None:
    """(the damaged characters, what they were), for the first that are damaged; None without any."""
    for match in beginnings().finditer(text):
        run = _RUN.match(text, match.start())
        for original in _originals(run.group()) if run else ():
            return run.group() if run else "", original
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
    common = 0
    for char in run:
        pair = char.encode("gb2312", "ignore")
        common += len(pair) == 2 and pair[0] <= 0xD7
    return common * 2 > len(run)
