"""Rate limits of a teacher: concurrent requests, requests and tokens per minute, and pauses that the service asks for.

For one event loop.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter


class RateLimits:
    """`requests_per_minute` and `tokens_per_minute`: None for no limit."""

    def __init__(
        self, concurrency: int = 4, requests_per_minute: float | None = None, tokens_per_minute: int | None = None
    ) -> None:
        self._concurrency = asyncio.Semaphore(concurrency)
        # One request per interval, not a minute's burst: services count over shorter spans than a minute.
        self._requests = AsyncLimiter(1, 60 / requests_per_minute) if requests_per_minute else None
        self._tokens = AsyncLimiter(tokens_per_minute, 60) if tokens_per_minute else None
        self._paused_until = 0.0

    @asynccontextmanager
    async def permit(self, tokens: int) -> AsyncIterator[None]:
        """Holds one of the concurrent places; entered once the rates allow a request of `tokens`, the worst case."""
        async with self._concurrency:
            if self._tokens:
                # A request above the limit waits for a full minute's allowance, or it would never be sent.
                await self._tokens.acquire(min(tokens, self._tokens.max_rate))
            if self._requests:
                await self._requests.acquire()
            # The pause may be extended while a request sleeps.
            while (remaining := self._paused_until - time.monotonic()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(remaining)
            yield

    def pause(self, seconds: float) -> None:
        """Holds back every new request for so long: the service reported a rate limit."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)
