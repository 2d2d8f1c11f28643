"""Routes whose JSON bodies are parsed strictly (`luthier.types.strict_json`), off the event loop, and within limits."""

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from numpy.typing import NDArray

from luthier.types.errors import PayloadTooLargeError
from luthier.types.strict_json import parse_json

# The cost of parsing and validation is proportional to the number of values in a body, and above all of object members.
# The 300,000 token ids that OpenAI accepts in one embeddings request fit, and so do 128 tools of 200 members.
MAX_JSON_VALUES, MAX_JSON_MEMBERS = 400_000, 30_000
_LARGE_BYTES = 32 * 1024


async def parse_json_body(body: bytes) -> Any:
    """Parse a body; a large one is parsed in a thread, so that other requests are answered meanwhile.

    Raises:
        PayloadTooLargeError: More than `MAX_JSON_VALUES` values or `MAX_JSON_MEMBERS` members, however few bytes.
        BadRequestError: See `parse_json`.
    """
    return await run_in_threadpool(_parse_bounded, body) if len(body) > _LARGE_BYTES else parse_json(body)


def _parse_bounded(body: bytes) -> Any:
    if body.count(b":") > MAX_JSON_MEMBERS or sum(map(body.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        _check_counts(_outside_strings(body))  # the characters above may occur within strings
    return parse_json(body)


def _outside_strings(body: bytes) -> NDArray[np.uint8]:
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")  # so that every quotation mark opens or closes a string
    characters = np.frombuffer(plain, dtype=np.uint8)
    inside = np.bitwise_xor.accumulate(characters == ord('"'))
    return characters[~inside]


def _check_counts(characters: NDArray[np.uint8]) -> None:
    counts = np.bincount(characters, minlength=256)
    members, values = int(counts[ord(":")]), int(counts[[ord(","), ord("["), ord("{")]].sum())
    if members > MAX_JSON_MEMBERS or values > MAX_JSON_VALUES:
        raise PayloadTooLargeError(
            f"The JSON body of your request is too large: at most {MAX_JSON_VALUES:,} values and {MAX_JSON_MEMBERS:,} "
            "members of objects. Send it as several requests, or as a file."
        )


class _StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = await parse_json_body(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route whose JSON body is parsed by `parse_json_body`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_strictly
