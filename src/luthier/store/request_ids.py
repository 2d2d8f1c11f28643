"""Ids of what an operation creates: the same ones when the operation is repeated.

A process that dies between two commits of one promise, such as a row and its stored response under an idempotency key,
leaves a row that the repeated operation finds by its id, instead of creating a second one.
"""

import hashlib
import string
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from luthier.types.common import new_id

_ALPHABET = string.ascii_letters + string.digits
# Of the operation that is running; None for one that is not repeated.
_seed: ContextVar[str | None] = ContextVar("seed", default=None)


@contextmanager
def seeded(seed: str) -> Iterator[None]:
    """Ids of resources that are created in the block follow from `seed`."""
    token = _seed.set(seed)
    try:
        yield
    finally:
        _seed.reset(token)


def is_seeded() -> bool:
    """Whether the running operation may be a repetition."""
    return _seed.get() is not None


def resource_id(prefix: str, length: int = 24) -> str:
    """The id of the resource with this prefix that the running operation creates; a random one without a seed."""
    seed = _seed.get()
    if seed is None:
        return new_id(prefix, length)
    digest = hashlib.sha512(f"{seed}/{prefix}".encode()).digest()
    return prefix + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])
