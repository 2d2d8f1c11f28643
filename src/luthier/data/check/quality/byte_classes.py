"""Classes of bytes in UTF-8 text, by which the checks of this package select the few texts that they must search.

One table for all of them, so that a batch is translated once. Bytes of multi-byte characters are 0x80 and above, so
their classes and those of ASCII characters never meet.
"""

NUMBER, DIGIT, AT, BRACKET, FOREIGN_LEAD = 1, 2, 4, 8, 16

# Scripts beside Han and Latin, with their first and last code points.
FOREIGN_SCRIPTS = (
    ("Cyrillic", 0x400, 0x4FF),
    ("Hebrew or Arabic", 0x590, 0x6FF),
    ("Indic", 0x900, 0xDFF),
    ("Thai", 0xE00, 0xE7F),
    ("Kana", 0x3040, 0x30FA),
    ("Hangul", 0xAC00, 0xD7AF),
)
_KANA_LEAD_BYTE = 0xE3  # Chinese punctuation begins with it, too
_FOREIGN_LEAD_BYTES = frozenset(
    chr(code).encode()[0] for _, low, high in FOREIGN_SCRIPTS for code in range(low, high + 1)
) - {_KANA_LEAD_BYTE}
_BYTES = {
    NUMBER: frozenset(b"0123456789 -"),
    DIGIT: frozenset(b"0123456789"),
    AT: frozenset(b"@"),
    BRACKET: frozenset(b"{[<"),  # of placeholders
    FOREIGN_LEAD: _FOREIGN_LEAD_BYTES,
}
TABLE = bytes(sum(bit for bit, members in _BYTES.items() if byte in members) for byte in range(256))
