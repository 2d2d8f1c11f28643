"""The application for any ASGI server, such as `uvicorn luthier.asgi:app`; settings come from the environment.

The data folder is opened when the server starts the application's lifespan, not at import. The worker runs in the same
process unless LUTHIER_WORKER turns it off. One process serves a data folder: start the server without `--workers`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.runtime import Installation, server_lock
from luthier.settings import Settings


class _Application:
    """Opens the installation in the lifespan, and hands every other scope to its application."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._app is None:
            raise RuntimeError("Luthier needs an ASGI server that runs the lifespan; with uvicorn: --lifespan on")
        else:
            await self._app(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        try:
            async with _running(Settings()) as self._app:
                await send({"type": "lifespan.startup.complete"})
                await receive()  # lifespan.shutdown
        except Exception as error:
            phase = "startup" if self._app is None else "shutdown"
            await send({"type": f"lifespan.{phase}.failed", "message": f"{type(error).__name__}: {error}"})
            return
        await send({"type": "lifespan.shutdown.complete"})


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[FastAPI]:
    """The application, with its worker unless the settings turn it off."""
    with server_lock(settings):
        installation = await asyncio.to_thread(Installation.open, settings)
        try:
            async with installation.app.router.lifespan_context(installation.app):
                worker = installation.worker() if settings.worker else None
                if worker:
                    await asyncio.to_thread(worker.start)
                try:
                    yield installation.app
                finally:
                    if worker:
                        await asyncio.to_thread(worker.stop)
        finally:
            await asyncio.to_thread(installation.store.close)


app = _Application()
