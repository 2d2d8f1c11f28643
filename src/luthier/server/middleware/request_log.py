"""A log line per request: client, method, path, status, duration, request id, project. No query, body or key."""

import logging
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.server.http.auth import INTERNAL_CALLER
from luthier.server.http.status_recorder import StatusRecorder

_log = logging.getLogger(__name__)
_LINE = "%(client)s %(method)s %(path)s %(status)s %(duration_s).3f s %(request_id)s %(project)s"
_PROBE_PATHS = {"/health", "/ready"}  # orchestrators ask every few seconds


class RequestLog:
    """Logs at INFO, faults of the server (5xx) at WARNING, probes at DEBUG; a stream when it has ended.

    Requests from within the process are not logged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        level = logging.DEBUG if scope.get("path") in _PROBE_PATHS else logging.INFO
        if scope["type"] != "http" or INTERNAL_CALLER in scope or not _log.isEnabledFor(level):
            await self._app(scope, receive, send)
            return
        start_s, recorder = time.perf_counter(), StatusRecorder(send)

        try:
            await self._app(scope, receive, recorder)
        finally:
            self._log(scope, recorder.status, time.perf_counter() - start_s, level)

    @staticmethod
    def _log(scope: Scope, status: int, duration_s: float, level: int) -> None:
        state = scope.get("state", {})
        caller = state.get("caller")
        fields = {
            "client": (scope.get("client") or ("-", 0))[0],
            "method": scope["method"],
            "path": scope["path"].encode("unicode_escape").decode(),  # a path may contain line breaks
            "status": status or "-",
            "duration_s": round(duration_s, 3),
            "request_id": state.get("request_id", "-"),
            "project": (caller.project if caller else None) or "-",
        }
        level = max(level, logging.WARNING) if not status or status >= 500 else level
        _log.log(level, _LINE, fields, extra={"fields": fields})
