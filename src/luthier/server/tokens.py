"""The one bridge from engines, which are threads, to the server, which is async."""

from collections.abc import AsyncIterator

import anyio
import anyio.to_thread

from luthier.inference import Token, TokenStream

# Threads that wait for tokens, apart from those that read the store, so that neither can starve the other.
_waiting: anyio.CapacityLimiter | None = None
_MOST = 512


async def tokens_of(stream: TokenStream) -> AsyncIterator[Token]:
    """Tokens as they come. A task that is cancelled while waiting cancels the answer, which frees its slot."""
    global _waiting
    if _waiting is None:
        _waiting = anyio.CapacityLimiter(_MOST)
    iterator = iter(stream)
    try:
        while True:
            token = await anyio.to_thread.run_sync(next, iterator, None, abandon_on_cancel=True, limiter=_waiting)
            if token is None:
                return
            yield token
    finally:
        stream.cancel()
