"""Counts and durations of requests, by route. Paths from clients never become labels: only routes do."""

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.server.http.auth import INTERNAL_CALLER
from luthier.server.http.status_recorder import StatusRecorder

_NO_ROUTE = "none"
_BOUNDS_S = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0)


class RequestMetrics:
    """Requests from within the process (batches, evaluations) count as such, under `internal`."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        labels = ["method", "route", "origin"]
        self._requests = Counter("luthier_requests", "Answered requests.", [*labels, "status"], registry=registry)
        self._durations = Histogram(
            "luthier_request_duration_seconds", "Until the last byte of the answer.", labels,
            buckets=_BOUNDS_S, registry=registry,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s, recorder = time.perf_counter(), StatusRecorder(send)

        try:
            await self._app(scope, receive, recorder)
        finally:
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            origin = "internal" if INTERNAL_CALLER in scope else "client"
            self._requests.labels(scope["method"], route, origin, str(recorder.status or "none")).inc()
            self._durations.labels(scope["method"], route, origin).observe(time.perf_counter() - start_s)
