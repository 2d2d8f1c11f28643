"""Fairness between keys: each may have so many requests waiting, and none waits behind all that another sent.

Knows nothing about what the requests ask for.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from itertools import zip_longest
from typing import Protocol, TypeVar

from luthier.types.errors import RateLimitError

# Whose request the work is that is submitted: set where requests are answered.
asked_by: ContextVar[str] = ContextVar("asked_by", default="")


class Keyed(Protocol):
    key: str


Work = TypeVar("Work", bound=Keyed)


def in_turn(works: Sequence[Work]) -> list[Work]:
    """The first of every key, then the second of every key, and so on; within a key first come, first served."""
    by_key: dict[str, list[Work]] = {}
    for work in works:
        by_key.setdefault(work.key, []).append(work)
    return [work for row in zip_longest(*by_key.values()) for work in row if work is not None]


class Admission:
    """`limit`: requests of one key that may be open at once."""

    def __init__(self, limit: int) -> None:
        self._limit, self._open, self._lock = limit, Counter[str](), threading.Lock()

    @property
    def idle(self) -> bool:
        return not self._open

    def enter(self) -> str:
        """The key, for `leave` when the work is over. Raises RateLimitError."""
        key = asked_by.get()
        with self._lock:
            if self._open[key] >= self._limit:
                message = f"{self._open[key]} requests are waiting already. Please try again in 1s."
                raise RateLimitError(message, code="rate_limit_exceeded")
            self._open[key] += 1
        return key

    def leave(self, key: str) -> None:
        with self._lock:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
