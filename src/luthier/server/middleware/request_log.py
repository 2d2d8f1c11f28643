"""A log line per request: client, method, path, status, duration. No query, body or key is logged."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.server.http.auth import INTERNAL_CALLER

_log = logging.getLogger(__name__)
_PROBE_PATHS = {"/health", "/ready"}  # orchestrators ask every few seconds


class RequestLog:
    """Logs at INFO, probes at DEBUG; a stream when it has ended. Requests from within the process are not logged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        level = logging.DEBUG if scope.get("path") in _PROBE_PATHS else logging.INFO
        if scope["type"] != "http" or INTERNAL_CALLER in scope or not _log.isEnabledFor(level):
            await self._app(scope, receive, send)
            return
        start_s, status = time.perf_counter(), 0

        async def send_with_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_with_status)
        finally:
            client = (scope.get("client") or ("-", 0))[0]
            path = scope["path"].encode("unicode_escape").decode()  # a path may hold line breaks
            duration_s = time.perf_counter() - start_s
            _log.log(level, "%s %s %s %s %.3f s", client, scope["method"], path, status or "-", duration_s)
