"""The ASGI application, assembled from routes, middleware, error handlers and the OpenAPI document."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.middleware.cors import CORSMiddleware

from luthier import __version__
from luthier.catalogue import Catalogue
from luthier.server.background.loopback_client import LoopbackClient
from luthier.server.http import errors, openapi
from luthier.server.http.key_ring import KeyRing
from luthier.server.middleware.absolute_target import AbsoluteTarget
from luthier.server.middleware.access_control import AccessControl
from luthier.server.middleware.audit import Audit
from luthier.server.middleware.idempotency import Idempotency
from luthier.server.middleware.rate_limit import RateLimit
from luthier.server.middleware.request_log import RequestLog
from luthier.server.middleware.request_metrics import RequestMetrics
from luthier.server.monitoring import LuthierCollector, create_registry
from luthier.server.routes import (
    batches,
    checkpoint_permissions,
    completions_export,
    dashboard,
    embeddings,
    eval_runs,
    evals,
    evaluations,
    file_views,
    files,
    fine_tuning_jobs,
    graders,
    job_views,
    managed_keys,
    metrics,
    model_limits,
    model_views,
    models,
    moderations,
    overview,
    stored_completions,
    uploads,
    webhooks,
)
from luthier.server.routes.chat_completions import router as chat_completions
from luthier.server.routes.completions import router as completions
from luthier.server.routes.responses import conversations
from luthier.server.routes.responses import router as responses
from luthier.server.state import AppState
from luthier.settings import Settings
from luthier.store import Store
from luthier.store.rate_allowances import RateAllowances

# Routes are tried in this order, each for a few microseconds: those that answer most requests are first.
_RESOURCES = (
    chat_completions,
    fine_tuning_jobs,
    files,
    responses,
    completions,
    file_views,
    completions_export,
    uploads,
    job_views,
    model_limits,
    model_views,
    checkpoint_permissions,
    graders,
    models,
    conversations,
    stored_completions,
    embeddings,
    moderations,
    batches,
    evaluations,
    evals,
    eval_runs,
    dashboard,
    webhooks,
    metrics,
    managed_keys,
    overview,
)


def create_app(settings: Settings, store: Store, catalogue: Catalogue, local_key: str | None = None) -> FastAPI:
    """Create an ASGI application over `store`. It has no worker: jobs wait in the store for one.

    `local_key`: a key of the whole organization, accepted in addition to those of the settings and the managed ones.
    """
    state = AppState.create(settings, store, catalogue)
    keys = KeyRing(settings.keys(), store.api_keys, local_key, is_reachable=not settings.is_loopback())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.open()
        loopback = app.state.loopback = LoopbackClient(app, asyncio.get_running_loop())
        yield
        await loopback.aclose()
        await state.aclose()

    app = FastAPI(title="Luthier", version=__version__, lifespan=lifespan, openapi_url=None)
    app.state.luthier = state
    app.state.keys = keys
    app.state.registry = create_registry()
    app.state.registry.register(LuthierCollector(state))
    _add_middleware(app, settings, store, keys)
    errors.install(app)
    for resource in _RESOURCES:
        app.include_router(resource.router)
    openapi.install(app)
    app.add_api_route("/health", _health, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/ready", _ready, methods=["GET", "HEAD"], include_in_schema=False)
    return app


def _add_middleware(app: FastAPI, settings: Settings, store: Store, keys: KeyRing) -> None:
    """Add the middleware; the last one added is the outermost."""
    shared = RateAllowances(store.rate_limits) if store.is_shared else None
    app.add_middleware(RateLimit, settings=settings, shared=shared)
    app.add_middleware(Audit, store=store)
    app.add_middleware(Idempotency, store=store)
    app.add_middleware(AccessControl, settings=settings, keys=keys)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,  # the origins are the operator's own list
            expose_headers=["x-request-id", "openai-processing-ms", "retry-after"],
        )
    app.add_middleware(RequestMetrics, registry=app.state.registry)
    if settings.log_requests:
        app.add_middleware(RequestLog)
    app.add_middleware(AbsoluteTarget)


async def _health() -> dict[str, str]:
    """The process answers requests."""
    return {"status": "ok", "version": __version__}


def _ready(request: Request) -> dict[str, str]:
    """The database answers too; otherwise the exception becomes status 503. Models load with their first request."""
    state: AppState = request.app.state.luthier
    state.store.files.list(purpose=None, limit=1, ascending=False, after=None)
    return {"status": "ready"}
