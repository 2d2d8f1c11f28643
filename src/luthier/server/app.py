"""The application: routes, guard and error bodies put together. Knows nothing about how it is served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from luthier import __version__
from luthier.catalogue import Catalogue
from luthier.inference import EnginePool, Pool
from luthier.inference.pool import EngineOptions, VllmOptions, start_encoder
from luthier.server.background.batch_runner import BatchRunner
from luthier.server.background.evaluation_runner import EvaluationRunner
from luthier.server.generation import upstream_proxy
from luthier.server.http import errors, openapi
from luthier.server.middleware.access_control import Guard
from luthier.server.middleware.idempotency import Replay
from luthier.server.middleware.rate_limit import Limits
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
from luthier.server.state import State
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
    options = EngineOptions(
        settings.device,
        settings.precision,
        settings.lora_slots,
        settings.queue_limit,
        settings.prefix_cache_bytes,
        settings.engine,
        VllmOptions(
            settings.vllm_url,
            settings.vllm_api_key.get_secret_value() if settings.vllm_api_key else None,
            settings.vllm_command,
            settings.vllm_arguments,
        ),
        settings.models_in_memory,
        settings.cache,
    )
    engines, encoders = EnginePool(options), Pool(options, start_encoder)
    state = State(settings, store, catalogue, engines, encoders)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.upstream = upstream_proxy.client(settings)
        runners = [asyncio.create_task(one.run()) for one in (BatchRunner(app, state), EvaluationRunner(app, state))]
        yield
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)
        if state.upstream:
            await state.upstream.aclose()
        engines.close()
        encoders.close()

    app = FastAPI(title="Luthier", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.luthier = state
    # The last one stands outermost.
    app.add_middleware(Limits, settings=settings)
    app.add_middleware(Replay, store=store)
    app.add_middleware(Guard, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "openai-processing-ms", "retry-after"],
        )
    errors.install(app)
    for resource in _RESOURCES:
        app.include_router(resource.router)
    openapi.install(app)
    app.add_api_route("/health", _health, include_in_schema=False)
    return app


async def _health() -> dict[str, str]:
    return {"status": "ok", "version": __version__}
