"""What the routes share, handed to each by FastAPI: with the store as the caller's project sees it."""

import asyncio
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import anyio
import httpx
from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from luthier.catalogue import Catalogue
from luthier.data.rendering.renderer import Renderer
from luthier.inference import Engine, EnginePool, Pool, TextEmbedder
from luthier.inference.pool import Started
from luthier.server.http.auth import CallerOf
from luthier.server.model_resolver import Names
from luthier.settings import Settings
from luthier.store import Store


@dataclass
class State:
    """`upstream`: the client for the service elsewhere, None when none is set.

    `store` and `names` show everything in the one that the application keeps, and what the caller's project may see
    in those that routes get.
    """

    settings: Settings
    store: Store
    catalogue: Catalogue
    engines: EnginePool
    encoders: Pool[TextEmbedder]
    upstream: httpx.AsyncClient | None = None
    names: Names = field(init=False)
    fetching: asyncio.Lock = field(default_factory=asyncio.Lock)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    # Graders may take minutes: they have threads of their own, and no other request waits behind them.
    grading: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(8))

    def __post_init__(self) -> None:
        self.names = Names(self.settings, self.store, self.catalogue)

    def within(self, project: str | None) -> "State":
        """The same with the store as `project` sees it; None: all of it."""
        return replace(self, store=self.store.within(project))

    async def ready(self, base: str) -> tuple[Path, Engine]:
        """The base model's folder, fetched first where it must be, and its engine, started first where it must be.

        Either may take minutes; requests that wait for it hold no thread. Raises BaseModelError.
        """
        if not self.catalogue.ready(base):
            async with self.fetching:
                await run_in_threadpool(self.catalogue.folder, base)
        folder = self.catalogue.folder(base)
        return folder, await self.started(self.engines, folder)

    async def started(self, pool: Pool[Started], folder: Path) -> Started:
        """Raises BaseModelError."""
        found = pool.running(folder)
        if found is None:
            async with self.starting:
                found = await run_in_threadpool(pool.engine, folder)
        return found


@lru_cache(maxsize=64)
def renderer(base: Path, adapter: Path | None) -> Renderer:
    """The renderer of a base or of an adapter, whose own chat template travels with it."""
    return Renderer(base, adapter / "chat_template.jinja" if adapter else None)


def _state(request: Request, caller: CallerOf) -> State:
    shared: State = request.app.state.luthier
    return shared.within(caller.project)


StateOf = Annotated[State, Depends(_state)]
