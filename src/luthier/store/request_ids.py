"""Ids of resources that a request creates: the same ones when it is sent again under its idempotency key.

A process that dies after the row is committed and before the response is stored leaves a row that the repeated
request finds by its id, instead of creating a second one.
"""

import hashlib
import string
from contextvars import ContextVar

from luthier.types.common import new_id

_ALPHABET = string.ascii_letters + string.digits
# Of the request that is being answered; None for one without an idempotency key.
request_seed: ContextVar[str | None] = ContextVar("request_seed", default=None)


def resource_id(prefix: str, length: int = 24) -> str:
    """The id of the resource with this prefix that the current request creates; a random one without a seed."""
    seed = request_seed.get()
    if seed is None:
        return new_id(prefix, length)
    digest = hashlib.sha512(f"{seed}/{prefix}".encode()).digest()
    return prefix + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])
