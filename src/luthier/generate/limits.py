"""The rate limits of a run: concurrent requests, requests and tokens per minute, and pauses requested by the service.

Not thread-safe: they belong to one event loop.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter


class RateLimits:
    """Delays requests so that they stay within the limits; a rate of None is unlimited."""

    def __init__(
        self, concurrency: int = 4, requests_per_minute: float | None = None, tokens_per_minute: int | None = None
    ) -> None:
        self._concurrency = asyncio.Semaphore(concurrency)
        # Requests are spaced evenly instead of in bursts, since services also count over less than a minute.
        self._requests = AsyncLimiter(1, 60 / requests_per_minute) if requests_per_minute else None
        self._tokens = AsyncLimiter(tokens_per_minute, 60) if tokens_per_minute else None
        self._paused_until = 0.0

    @asynccontextmanager
    async def permit(self, tokens: int) -> AsyncIterator[None]:
        """Occupies one of the concurrent slots. Entered once the rates allow a request of at most `tokens` tokens."""
        async with self._concurrency:
            if self._tokens:
                # A request larger than the limit waits for a full minute's allowance; it could never be sent otherwise.
                await self._tokens.acquire(min(tokens, self._tokens.max_rate))
            if self._requests:
                await self._requests.acquire()
            # The pause may be extended while this request sleeps.
            while (remaining := self._paused_until - time.monotonic()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(remaining)
            yield

    def pause(self, seconds: float) -> None:
        """Delays all new requests by this time, after the service has reported a rate limit."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)
