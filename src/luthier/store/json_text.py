"""JSON and texts in a form that every database can store."""

import json
import math
from typing import Any

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSTORABLE = {0: _REPLACEMENT, **dict.fromkeys(range(0xD800, 0xE000), _REPLACEMENT)}


def storable(text: str) -> str:
    """`text` with U+FFFD for each NUL character and each lone surrogate, which PostgreSQL cannot store."""
    return text if text.isascii() and "\0" not in text else text.translate(_UNSTORABLE)


def to_json(value: Any) -> str:
    """Serialize as standard JSON: NaN and the infinities, which it does not have, become null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def standard_json(text: str) -> str:
    """Rewrite JSON text as `to_json` writes it; text of earlier releases may contain NaN and infinities."""
    return to_json(json.loads(text)) if "NaN" in text or "Infinity" in text else text


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, (list, tuple)) else value
