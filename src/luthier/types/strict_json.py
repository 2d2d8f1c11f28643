"""Strict parsing of JSON that clients send: request bodies and the lines of batches.

`json.loads` accepts NaN, out-of-range numbers, lone surrogates and any nesting depth. Each of these would fail later,
deep inside the server, as an internal error; here they are refused as bad requests.
"""

import json
import math
import re
from typing import Any

from luthier.types.errors import BadRequestError

MAX_DEPTH = 64
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(raw: bytes) -> Any:
    """Raises BadRequestError: in OpenAI's words for invalid JSON, in ours for valid JSON that cannot be used."""
    try:
        text = raw.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_reject_constant, parse_float=_finite_float)
    except (ValueError, RecursionError):
        raise BadRequestError(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    if _SURROGATE_ESCAPE.search(text):
        _check_surrogates(value)
    return value


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite_float(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number} is out of range")
    return value


def _check_depth(value: Any) -> None:
    """Breadth first, so that the check itself does not recurse."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _containers(parent)]
        if not level:
            return
    raise BadRequestError(f"The JSON body of your request is nested deeper than {MAX_DEPTH} levels.")


def _containers(value: Any) -> list[Any]:
    """The objects and arrays directly inside a value."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in values if isinstance(child, (dict, list))]


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRequestError(
            "The JSON body of your request has a lone surrogate: a \\u escape that is only half of a character."
        ) from None
