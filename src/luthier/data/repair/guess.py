"""What json-repair makes of a line that is no JSON: a proposal, which a person must agree to.

It turns `hello` into an empty text and ends what was cut off, so nothing that it says is taken unasked.
"""

import json
from typing import Any


def guessed(text: str) -> Any:
    """An object, or None where nothing needs guessing or nothing sensible comes of it."""
    from json_repair import repair_json

    try:
        json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        return None
    try:
        value = repair_json(text, return_objects=True, skip_json_loads=True)
    except (ValueError, RecursionError, IndexError):
        return None
    return value if isinstance(value, dict) and value else None
