"""Names the mistake at the position where a line stops being JSON.

The diagnosis uses only the text and the position of Python's JSON error; a mistake that is not certain is
`json_invalid`.
"""

import json
import re

from luthier.data.findings import Finding, make_finding

QUOTES = "“”„‟‘’‚‛＂＇「」『』"
FULL_WIDTH = "：，｛｝［］、；　"
_TRAILING_COMMA = re.compile(r",\s*$")
_PYTHON_CONSTANT = re.compile(r"(True|False|None)\b")
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
_CONTEXT = 20  # characters shown on either side


def diagnose(text: str, error: json.JSONDecodeError) -> Finding:
    """The finding for a text for which the JSON decoder raised `error`."""
    position = error.pos
    here, before = text[position : position + 1], text[:position]
    excerpt = text[max(0, position - _CONTEXT) : position + _CONTEXT]
    detail = str(position + 1)
    if error.msg.startswith("Invalid control character"):
        return make_finding("control_character", value=f"U+{ord(here or chr(0)):04X}", detail=detail)
    if here and here in QUOTES:
        return make_finding("smart_quotes", value=excerpt, detail=detail)
    if is_foreign_space(here):
        return make_finding("full_width_punctuation", value=f"U+{ord(here):04X}: {excerpt}", detail=detail)
    if here and here in FULL_WIDTH:
        return make_finding("full_width_punctuation", value=excerpt, detail=detail)
    if here == "'" or _PYTHON_CONSTANT.match(text, position):
        return make_finding("python_repr", value=excerpt, detail=detail)
    # Python 3.13 reports the position of the comma, earlier versions that of the bracket.
    if (here in ("}", "]") and _TRAILING_COMMA.search(before)) or re.match(r",\s*[}\]]", text[position:]):
        return make_finding("trailing_comma", value=excerpt, detail=detail)
    if _is_truncated(text, error):
        return make_finding("line_truncated", value=text[-_CONTEXT * 2 :])
    if error.msg.startswith("Invalid \\escape"):
        return make_finding("escape_invalid", value=excerpt, detail=detail)
    return make_finding("json_invalid", value=excerpt if position > _CONTEXT else text, detail=detail)


def is_foreign_space(char: str) -> bool:
    """Whether it is a space that JSON does not allow between values, such as U+00A0 or a zero-width space."""
    return bool(char) and ((char.isspace() and char not in " \t\r\n") or char in _ZERO_WIDTH)


def _is_truncated(text: str, error: json.JSONDecodeError) -> bool:
    """Whether an object begins and does not end, with nothing else wrong before that."""
    if not text.lstrip().startswith('{"') or len(text) < 2 * _CONTEXT:
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip())
