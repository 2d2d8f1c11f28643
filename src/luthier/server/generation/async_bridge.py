"""The bridge from engine threads to the event loop: token callbacks become an async iterator."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from functools import partial

from luthier.inference import Engine, EngineRequest, Token, TokenEvent, TokenStream


class MergedStreams:
    """Engine requests that run together; their tokens arrive in one queue."""

    def __init__(self, engine: Engine, requests: Sequence[EngineRequest]) -> None:
        """Submit all requests. Raises RateLimitError, leaving none of them in the engine's queue."""
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, TokenEvent]] = asyncio.Queue()
        self.streams: list[TokenStream] = []
        try:
            for index, request in enumerate(requests):
                self.streams.append(engine.submit(request, partial(self._deliver, index)))
        except BaseException:
            self.cancel()
            raise

    def _deliver(self, index: int, event: TokenEvent) -> None:
        """Called in the engine's thread."""
        with suppress(RuntimeError):  # the event loop is closed: the server has shut down
            self._loop.call_soon_threadsafe(self._events.put_nowait, (index, event))

    async def tokens(self) -> AsyncGenerator[tuple[int, Token | None]]:
        """(index of the request, its next token), in order of arrival; None after its last token.

        Raises the engine's errors. All requests are cancelled when the iterator is closed or cancelled.
        """
        running = len(self.streams)
        try:
            while running:
                index, event = await self._events.get()
                if isinstance(event, Exception):
                    raise event
                running -= event is None
                yield index, event
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Frees the engine's queue slots; safe at any time."""
        for stream in self.streams:
            stream.cancel()
