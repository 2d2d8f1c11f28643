"""Limits on HTTP connections, so that clients that send nothing, or a request byte by byte, do not delay others.

Such connections cost a client nothing and precede any API key. A connection whose request headers take too long is
closed; if there are as many connections as the process has descriptors for, the one that has been silent longest is
closed in favour of the newest. A connection that waits for the server's answer is never closed.
"""

import asyncio
import time

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_HEADERS_S = 30.0  # from the first byte, or from the connection, to the last header
ACCEPT_BURST = 32  # connections that asyncio accepts in one go, before any of them can be closed for another
_RESERVED_DESCRIPTORS = ACCEPT_BURST + 128  # and for the database, files, trainers and upstream connections
_MOST_CONNECTIONS = 8192


class BoundedConnection(H11Protocol):
    """uvicorn's protocol with a deadline for headers and an eviction of silent connections."""

    _last_received_s: float = 0.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._last_received_s = time.monotonic()
        if len(self.connections) >= max_connections():
            self._evict()
        super().connection_made(transport)
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        self._last_received_s = time.monotonic()
        super().data_received(data)
        if not self.waits_for_headers():
            self._stop_deadline()
        # Headers have begun; the rest of a body that was rejected early is not a request
        elif self.conn.trailing_data[0]:
            self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def waits_for_headers(self) -> bool:
        """Whether no request of this connection is being answered or uploaded."""
        return self.cycle is None or self.cycle.response_complete

    def waits_for_client(self) -> bool:
        """Whether the next byte has to come from the client."""
        return self.waits_for_headers() or self.cycle.more_body

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_HEADERS_S, self._close)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        if self.waits_for_headers() and not self.transport.is_closing():
            self.transport.close()

    def _evict(self) -> None:
        peers = [peer for peer in self.connections if isinstance(peer, BoundedConnection)]
        silent = [peer for peer in peers if peer.waits_for_client() and not peer.transport.is_closing()]
        if silent:
            min(silent, key=lambda peer: peer._last_received_s).transport.abort()


def max_connections() -> int:
    """The limit of the process's descriptors, less those that it needs itself."""
    try:
        import resource
    except ImportError:  # Windows
        return 480
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(16, min(_MOST_CONNECTIONS, descriptors - _RESERVED_DESCRIPTORS))


def raise_descriptor_limit() -> None:
    """Raises the soft limit, often 1,024 or 256, as far as the hard limit allows and `max_connections` needs."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = _MOST_CONNECTIONS + _RESERVED_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        target = min(hard, target)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
