"""The JSON of a request, read more strictly than Python's own reader does.

That one takes NaN, numbers beyond every range, halves of characters (lone surrogates) and any depth; each of these
would fail later, deep inside, as if it were the server's fault. Knows nothing about what the JSON is to mean.
"""

import json
import math
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from luthier.types.errors import BadRequestError

MOST_LEVELS = 64
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(raw: bytes) -> Any:
    """Raises BadRequestError in OpenAI's words for what is not JSON, and in ours for what nobody can use."""
    try:
        text = raw.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_not_json, parse_float=_finite)
    except (ValueError, RecursionError):
        raise BadRequestError(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from None
    if text.count("[") + text.count("{") > MOST_LEVELS:
        _check_depth(value)
    if _HALF_CHARACTER.search(text):
        _check_characters(value)
    return value


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number} is beyond the range of numbers")
    return value


def _check_depth(value: Any) -> None:
    """Level by level, so that the check itself needs no recursion."""
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise BadRequestError(f"The JSON body of your request is nested deeper than {MOST_LEVELS} levels.")


def _inside(value: Any) -> list[Any]:
    """What a value holds that can itself hold something."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [inner for inner in values if isinstance(inner, (dict, list))]


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRequestError(
            "The JSON body of your request holds half a character: a \\u escape of a surrogate without its other half."
        ) from None


class _StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = read_json(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route whose JSON body is read by `read_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly
