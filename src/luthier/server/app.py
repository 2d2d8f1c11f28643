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
from luthier.server import (
    batches,
    chat,
    completions,
    document,
    embeddings,
    errors,
    evaluations,
    files,
    fine_tuning,
    graders,
    model_limits,
    models,
    moderations,
    permissions,
    stored,
    uploads,
    upstream,
)
from luthier.server.batch_runner import BatchRunner
from luthier.server.evaluation_runner import EvaluationRunner
from luthier.server.guard import Guard
from luthier.server.limits import Limits
from luthier.server.replay import Replay
from luthier.server.state import State
from luthier.settings import Settings
from luthier.store import Store

_RESOURCES = (
    files,
    uploads,
    fine_tuning,
    model_limits,
    permissions,
    graders,
    models,
    chat,
    stored,
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
        settings.adapters_in_memory,
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
    )
    engines, encoders = EnginePool(options), Pool(options, start_encoder)
    state = State(settings, store, catalogue, engines, encoders)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.upstream = upstream.client(settings)
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
    document.install(app)
    app.add_api_route("/health", _health, include_in_schema=False)
    return app


async def _health() -> dict[str, str]:
    return {"status": "ok", "version": __version__}
