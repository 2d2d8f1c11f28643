"""How fast a teacher may be asked: requests at once, requests and tokens per minute, and a pause when it says so.

Knows nothing about what is asked. One event loop only.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter


class Limits:
    """`requests_per_minute` and `tokens_per_minute`: None for no limit."""

    def __init__(
        self, concurrency: int = 4, requests_per_minute: float | None = None, tokens_per_minute: int | None = None
    ) -> None:
        self._places = asyncio.Semaphore(concurrency)
        # One request per interval and not a minute's worth at once: services count over shorter spans than a minute.
        self._requests = AsyncLimiter(1, 60 / requests_per_minute) if requests_per_minute else None
        self._tokens = AsyncLimiter(tokens_per_minute, 60) if tokens_per_minute else None
        self._paused_until = 0.0

    @asynccontextmanager
    async def place(self, tokens: int) -> AsyncIterator[None]:
        """Holds one of the places; entered when the rates allow another request of `tokens`, worst case."""
        async with self._places:
            if self._tokens:
                # A request larger than a minute's allowance waits for a whole minute's worth, or it would never go.
                await self._tokens.acquire(min(tokens, self._tokens.max_rate))
            if self._requests:
                await self._requests.acquire()
            while (wait := self._paused_until - time.monotonic()) > 0:  # noqa: ASYNC110 - it may have been prolonged meanwhile
                await asyncio.sleep(wait)
            yield

    def pause(self, seconds: float) -> None:
        """No request starts for so long, whoever asks: the service said that it has had enough."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)
