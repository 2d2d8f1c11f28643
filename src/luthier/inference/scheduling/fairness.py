"""Fairness between keys (API keys, projects): a bounded queue for each, round-robin order, and low priority."""

import threading
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from itertools import zip_longest
from typing import Protocol, TypeVar

from luthier.types.errors import RateLimitError

# The key whose request submits work; set by the server's access control.
fairness_key: ContextVar[str] = ContextVar("fairness_key", default="")
# Low priority: scheduled every 8th step while interactive requests wait.
low_priority: ContextVar[bool] = ContextVar("low_priority", default=False)

LOW_PRIORITY_INTERVAL = 8  # steps


class Work(Protocol):
    """Work that a step may advance; `key` and `low_priority` come from the context of the request."""

    key: str
    low_priority: bool


AnyWork = TypeVar("AnyWork", bound=Work)


def round_robin(works: Sequence[AnyWork]) -> list[AnyWork]:
    """The first of every key, then the second of every key, and so on; FIFO within a key."""
    by_key: dict[str, list[AnyWork]] = {}
    for work in works:
        by_key.setdefault(work.key, []).append(work)
    return [work for row in zip_longest(*by_key.values()) for work in row if work is not None]


def due(works: Sequence[AnyWork], step: int) -> list[AnyWork]:
    """The work that step number `step` may advance, in round-robin order."""
    if step % LOW_PRIORITY_INTERVAL:
        works = [work for work in works if not work.low_priority] or works
    return round_robin(works)


class AdmissionControl:
    """Bounds the open requests of each key to `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit, self._open, self._lock = limit, Counter[str](), threading.Lock()

    @property
    def idle(self) -> bool:
        return not self._open

    def acquire(self) -> str:
        """The caller's key, to be released when the request ends. Raises RateLimitError."""
        key = fairness_key.get()
        with self._lock:
            if self._open[key] >= self._limit:
                message = f"{self._open[key]} requests are waiting already. Please try again in 1s."
                raise RateLimitError(message, code="rate_limit_exceeded")
            self._open[key] += 1
        return key

    def release(self, key: str) -> None:
        with self._lock:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
