"""Delivery of one generation's tokens from the engine's thread to the caller: an iterator or a callback."""

import logging
import queue
import threading
from collections.abc import Iterator

from luthier.inference.engine import FinishReason, OnToken, Token, TokenEvent

_log = logging.getLogger(__name__)


class GenerationStream:
    """Implements TokenStream. Without `on_token` events go into a queue, which `__iter__` reads."""

    def __init__(self, on_token: OnToken | None = None) -> None:
        self.finish_reason: FinishReason | None = None
        self.cached_tokens = 0
        self.cancelled = threading.Event()
        self._queue: queue.SimpleQueue[TokenEvent] = queue.SimpleQueue()
        self._on_token: OnToken = on_token or self._queue.put

    def deliver(self, event: TokenEvent) -> None:
        """Deliver an event, in the engine's thread. A callback that raises cancels its own generation only."""
        try:
            self._on_token(event)
        except Exception:
            _log.exception("a token callback failed; its generation is cancelled")
            self.cancel()

    def __iter__(self) -> Iterator[Token]:
        while (event := self._queue.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    def cancel(self) -> None:
        self.cancelled.set()
