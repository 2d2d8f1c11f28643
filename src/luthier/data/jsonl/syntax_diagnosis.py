"""A line that is no JSON → the name of the commonest mistake at the place where the reading stopped.

Knows the text and where Python's decoder gave up; guesses no more than what stands there.
"""

import json
import re

from luthier.data.findings import Finding, problem

QUOTES = "“”„‟‘’‚‛＂＇「」『』"
FULL_WIDTH = "：，｛｝［］、；　"
_TOO_MUCH_COMMA = re.compile(r",\s*$")
_PYTHON = re.compile(r"(True|False|None)\b")
_AROUND = 20


def fault(text: str, error: json.JSONDecodeError) -> Finding:
    """`text` is what `error` was raised on."""
    at = error.pos
    here, before = text[at : at + 1], text[:at]
    seen = text[max(0, at - _AROUND) : at + _AROUND]
    detail = str(at + 1)
    if error.msg.startswith("Invalid control character"):
        return problem("control_character", seen=f"U+{ord(here or chr(0)):04X}", detail=detail)
    if here and here in QUOTES:
        return problem("smart_quotes", seen=seen, detail=detail)
    if here and here in FULL_WIDTH:
        return problem("full_width_punctuation", seen=seen, detail=detail)
    if here == "'" or _PYTHON.match(text, at):
        return problem("python_repr", seen=seen, detail=detail)
    # Since Python 3.13 the place is the comma's, before it was the bracket's.
    if (here in ("}", "]") and _TOO_MUCH_COMMA.search(before)) or re.match(r",\s*[}\]]", text[at:]):
        return problem("trailing_comma", seen=seen, detail=detail)
    if _ends_early(text, error):
        return problem("line_truncated", seen=text[-_AROUND * 2 :])
    return problem("json_invalid", seen=text, detail=detail)


def _ends_early(text: str, error: json.JSONDecodeError) -> bool:
    """Whether an object that has begun is not ended, with nothing else wrong up to there."""
    if not text.lstrip().startswith('{"') or len(text) < 2 * _AROUND:
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip())
