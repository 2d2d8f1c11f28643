"""State shared by routes: `AppState`, one per application, and `State`, its view for one project."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Protocol

import anyio
import httpx
from fastapi import Depends, Request

from luthier.catalogue import Catalogue
from luthier.inference import EnginePool
from luthier.server.http.auth import CallerDep
from luthier.server.http.event_log import EventLog
from luthier.server.http.upstream_client import create_upstream_client
from luthier.server.http.upstream_models import UpstreamModels
from luthier.server.model_exports import ModelExports
from luthier.server.model_loader import ModelLoader
from luthier.server.model_resolver import ModelResolver
from luthier.settings import Settings
from luthier.store import Retention, Store
from luthier.types.aliases import dated_upstream_models
from luthier.types.overview import RecordedModel

_log = logging.getLogger(__name__)
_MAX_CACHED_PROJECTS = 256


class Recording(Protocol):
    """The recorded data of each model of a hosted account."""

    @property
    def provider(self) -> str: ...
    @property
    def updated_at(self) -> str | None: ...
    @property
    def models(self) -> Sequence[RecordedModel]: ...


@dataclass(frozen=True)
class State:
    """The application's state as one project sees it; `store` and `models` contain only that project's rows."""

    app: "AppState"
    store: Store
    models: ModelResolver

    @property
    def settings(self) -> Settings:
        return self.app.settings

    @property
    def retention(self) -> Retention:
        """The retention of stored responses and conversations."""
        return Retention(self.settings.stored_days, self.settings.stored_completions)

    def within(self, project: str | None) -> "State":
        return self.app.within(project)


@dataclass
class AppState:
    """Store and model names of all projects, and resources that projects share.

    Attributes:
        upstream: The client of the upstream service; None if none is configured.
        upstream_models: The models that the upstream service still has.
        background: Responses that are generated in the background, by their ids.
        grader_threads: Separate threads for graders, which may run for minutes, so that they do not block requests.
        file_threads: Threads for requests that read a whole training file; limits how many files are read at once.
        read_recording: Reads the recording of a hosted account; None if no recording is set.
    """

    settings: Settings
    store: Store
    models: ModelResolver
    loader: ModelLoader
    upstream_models: UpstreamModels
    upstream: httpx.AsyncClient | None = None
    background: dict[str, EventLog] = field(default_factory=dict)
    grader_threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(8))
    file_threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(2))
    read_recording: Callable[[], "Recording"] | None = None

    @classmethod
    def create(cls, settings: Settings, store: Store, catalogue: Catalogue) -> "AppState":
        upstream_models = UpstreamModels()
        resolver = ModelResolver(settings, store, catalogue, upstream_models)
        return cls(settings, store, resolver, ModelLoader.create(settings, catalogue, store.checksums), upstream_models)

    def __post_init__(self) -> None:
        self._dates: asyncio.Task[None] | None = None
        self.exports = ModelExports(self.store.models_folder.parent)
        self._within = lru_cache(maxsize=_MAX_CACHED_PROJECTS)(self._scope)

    @property
    def engines(self) -> EnginePool:
        return self.loader.engines

    def within(self, project: str | None) -> State:
        """The view of `project`, built on its first request; None: of all projects."""
        return self._within(project)

    def open(self) -> None:
        """When the application starts, in its event loop."""
        self.upstream = create_upstream_client(self.settings)
        dated = dated_upstream_models(self.settings.aliases)
        if self.upstream and dated:
            self._dates = asyncio.create_task(self.upstream_models.follow_dates(self.upstream, dated))
        if self.settings.capture:
            _log.warning(
                "capture is on for %s: chat completions that pass through to the upstream service are stored for %d "
                "days, the newest %d at most",
                "all projects" if "all" in self.settings.capture else ", ".join(self.settings.capture),
                self.settings.stored_days,
                self.settings.stored_completions,
            )

    async def aclose(self) -> None:
        """When the application ends."""
        await self.exports.aclose()
        tasks = [log.task for log in self.background.values() if log.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._dates:
            self._dates.cancel()
        if self.upstream:
            await self.upstream.aclose()
        self.loader.close()

    def _scope(self, project: str | None) -> State:
        store = self.store.within(project)
        return State(self, store, self.models.within(store, project))


def _state(request: Request, caller: CallerDep) -> State:
    app: AppState = request.app.state.luthier
    return app.within(caller.project)


StateDep = Annotated[State, Depends(_state)]
