"""What json-repair makes of a line that is no JSON: a proposal, applied only if the caller agrees.

json-repair turns `hello` into an empty text and completes truncated objects, so its result is never certain.
"""

import json
from typing import Any


def guess_json(text: str) -> Any:
    """An object; None if the text is JSON already, or if no object results."""
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
