"""Events of background work, which are kept while it runs; any number of readers can follow them from any event on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any


class EventLog:
    """The events of one piece of work. `task`: the work, set by its starter. All methods run in the event loop."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.cancelled = False  # by a client
        self._events: list[dict[str, Any]] = []
        self._closed = False
        self._changed = asyncio.Event()

    def append(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        self._wake()

    def close(self) -> None:
        """After the last event."""
        self._closed = True
        self._wake()

    async def cancel(self) -> None:
        """Cancel the work, and return when it has ended."""
        self.cancelled = True
        if self.task:
            self.task.cancel()
            await asyncio.wait({self.task})

    async def follow(self, start: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Events from number `start` on, until the last one."""
        while True:
            changed = self._changed
            while start < len(self._events):
                yield self._events[start]
                start += 1
            if self._closed:
                return
            if changed is self._changed:
                await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
