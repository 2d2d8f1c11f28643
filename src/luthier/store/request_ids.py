"""Ids of the objects that an operation creates: the same ones when the operation is repeated.

If a process dies between two related commits, such as those of a row and of its stored response under an idempotency
key, the repeated operation finds the row by its id instead of creating a second one.
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
    """`counts`: the number of ids created with each prefix; a repeated operation creates them in the same order."""

    seed: str
    counts: Counter[str] = field(default_factory=Counter)


# The running operation; None if it is not repeatable.
_operation: ContextVar[_Operation | None] = ContextVar("operation", default=None)


@contextmanager
def seeded(seed: str) -> Iterator[None]:
    """Within the block, the ids of created resources are derived from `seed`."""
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
