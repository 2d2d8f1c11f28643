"""The ASGI application: routes, middleware, error handlers and the OpenAPI document, put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from luthier import __version__
from luthier.catalogue import Catalogue
from luthier.inference import EnginePool, Pool
from luthier.inference.options import EngineOptions, VllmOptions
from luthier.inference.registry import build_embedding_model
from luthier.server.background.loopback_client import LoopbackClient
from luthier.server.generation import upstream_proxy
from luthier.server.http import errors, openapi
from luthier.server.middleware.access_control import AccessControl
from luthier.server.middleware.idempotency import Idempotency
from luthier.server.middleware.rate_limit import RateLimit
from luthier.server.model_loader import ModelLoader
from luthier.server.model_resolver import ModelResolver
from luthier.server.routes import (
    batches,
    checkpoint_permissions,
    embeddings,
    evaluations,
    files,
    fine_tuning_jobs,
    graders,
    model_limits,
    models,
    moderations,
    stored_completions,
    uploads,
)
from luthier.server.routes.chat_completions import router as chat_completions
from luthier.server.routes.completions import router as completions
from luthier.server.state import AppState
from luthier.settings import Settings
from luthier.store import Store

_RESOURCES = (
    files,
    uploads,
    fine_tuning_jobs,
    model_limits,
    checkpoint_permissions,
    graders,
    models,
    chat_completions,
    stored_completions,
    completions,
    embeddings,
    moderations,
    batches,
    evaluations,
)


def create_app(settings: Settings, store: Store, catalogue: Catalogue) -> FastAPI:
    """An ASGI application over `store`; jobs wait there for a worker, which is not part of it."""
    options = _engine_options(settings)
    loader = ModelLoader(catalogue, EnginePool(options), Pool(options, build_embedding_model))
    state = AppState(settings, store, ModelResolver(settings, store, catalogue), loader)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.upstream = upstream_proxy.create_client(settings)
        loopback = app.state.loopback = LoopbackClient(app, asyncio.get_running_loop())
        yield
        await loopback.aclose()
        if state.upstream:
            await state.upstream.aclose()
        loader.close()

    app = FastAPI(title="Luthier", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.luthier = state
    _add_middleware(app, settings, store)
    errors.install(app)
    for resource in _RESOURCES:
        app.include_router(resource.router)
    openapi.install(app)
    app.add_api_route("/health", _health, include_in_schema=False)
    return app


def _engine_options(settings: Settings) -> EngineOptions:
    return EngineOptions(
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        max_models=settings.models_in_memory,
        max_loras=settings.lora_slots,
        max_requests_per_key=settings.queue_limit,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        vllm=VllmOptions(
            url=settings.vllm_url,
            api_key=settings.vllm_api_key.get_secret_value() if settings.vllm_api_key else None,
            command=settings.vllm_command,
            arguments=settings.vllm_arguments,
        ),
        cache=settings.cache,
    )


def _add_middleware(app: FastAPI, settings: Settings, store: Store) -> None:
    """The last one added is the outermost."""
    app.add_middleware(RateLimit, settings=settings)
    app.add_middleware(Idempotency, store=store)
    app.add_middleware(AccessControl, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "openai-processing-ms", "retry-after"],
        )


async def _health() -> dict[str, str]:
    return {"status": "ok", "version": __version__}
