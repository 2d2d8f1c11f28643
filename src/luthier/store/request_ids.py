"""Ids of what an operation creates: the same ones when the operation is repeated.

A process that dies between two commits of one promise, such as a row and its stored response under an idempotency key,
leaves a row that the repeated operation finds by its id, instead of creating a second one.
"""

import hashlib
import string
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from luthier.types.ids import new_id

_ALPHABET = string.ascii_letters + string.digits


@dataclass
class _Operation:
    """`counts`: how many ids with each prefix it has created, which it does in the same order when it is repeated."""

    seed: str
    counts: Counter[str] = field(default_factory=Counter)


# The one that is running; None for one that is not repeated.
_operation: ContextVar[_Operation | None] = ContextVar("operation", default=None)


@contextmanager
def seeded(seed: str) -> Iterator[None]:
    """Ids of resources that are created in the block follow from `seed`."""
    token = _operation.set(_Operation(seed))
    try:
        yield
    finally:
        _operation.reset(token)


def is_seeded() -> bool:
    """Whether the running operation may be a repetition."""
    return _operation.get() is not None


def resource_id(prefix: str, length: int = 24) -> str:
    """The id of the next resource with this prefix that the running operation creates; a random one without a seed."""
    operation = _operation.get()
    if operation is None:
        return new_id(prefix, length)
    number = operation.counts[prefix]
    operation.counts[prefix] += 1
    name = f"{operation.seed}/{prefix}" + (f"/{number}" if number else "")
    digest = hashlib.sha512(name.encode()).digest()
    return prefix + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])
