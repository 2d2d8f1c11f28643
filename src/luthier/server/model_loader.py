"""Loads the model of a request: the base model's folder, its engine, and the renderer of its adapter."""

import asyncio
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from luthier.catalogue import Catalogue
from luthier.data.rendering.renderer import Renderer
from luthier.inference import Engine, EnginePool, Pool, TextEmbedder
from luthier.inference.options import EngineOptions, VllmOptions
from luthier.inference.pool import AnyModel
from luthier.inference.registry import build_embedding_model
from luthier.server.model_resolver import ResolvedModel
from luthier.settings import Settings
from luthier.store.checksums import Checksums
from luthier.types.errors import BadRequestError
from luthier.types.names import TUNED

_FolderState = frozenset[tuple[str, int, int]]  # names, bytes and times of modification


@dataclass(frozen=True)
class LoadedModel:
    """`folder`: the base model's."""

    target: ResolvedModel
    folder: Path
    engine: Engine

    @property
    def renderer(self) -> Renderer:
        """The renderer; loading it takes a second if it is not cached, so call this in a worker thread."""
        return load_renderer(self.folder, self.target.adapter)


@dataclass
class ModelLoader:
    """Downloads and starts one model at a time; requests that wait for it hold no thread."""

    catalogue: Catalogue
    engines: EnginePool
    embedders: Pool[TextEmbedder]
    checksums: Checksums
    options: EngineOptions
    _download_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _start_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _verified: set[tuple[Path, _FolderState]] = field(default_factory=set)

    @classmethod
    def create(cls, settings: Settings, catalogue: Catalogue, checksums: Checksums) -> "ModelLoader":
        options = _engine_options(settings)
        return cls(catalogue, EnginePool(options), Pool(options, build_embedding_model), checksums, options)

    async def load(self, target: ResolvedModel) -> LoadedModel:
        """Load the model and its engine; a download or a start may take minutes.

        Raises:
            BaseModelError: The base model cannot be fetched or loaded.
            CorruptDataError: The fine-tuned model's files differ from what its training wrote.
        """
        base = target.base or ""
        if not self.catalogue.ready(base):
            async with self._download_lock:
                await run_in_threadpool(self.catalogue.folder, base)
        folder = self.catalogue.folder(base)
        await self._verify(target.adapter or (folder if base.startswith(TUNED) else None), target.name)
        return LoadedModel(target, folder, await self._start(self.engines, folder))

    def local_folder(self, target: ResolvedModel) -> Path:
        """The base model's folder, without a download. Raises BadRequestError if it is not on this machine."""
        if target.base is None or not self.catalogue.ready(target.base):
            message = f"The base model of '{target.name}' is not on this server yet: `luthier models pull` fetches it."
            raise BadRequestError(message, param="model", code="base_model_unavailable")
        return self.catalogue.folder(target.base)

    async def _verify(self, folder: Path | None, name: str) -> None:
        """Verify a fine-tuned model's files once, and again when they change. Raises CorruptDataError."""
        if folder is None:
            return
        state = (folder, _folder_state(folder))
        if state not in self._verified:
            await run_in_threadpool(self.checksums.verify, folder, f"The model {name}")
            self._verified.add(state)

    async def load_embedder(self, folder: Path) -> TextEmbedder:
        """Raises BaseModelError."""
        return await self._start(self.embedders, folder)

    async def _start(self, pool: Pool[AnyModel], folder: Path) -> AnyModel:
        engine = pool.running(folder)
        if engine is None:
            async with self._start_lock:
                engine = await run_in_threadpool(pool.engine, folder)
        return engine

    def close(self) -> None:
        self.engines.close()
        self.embedders.close()


def _folder_state(folder: Path) -> _FolderState:
    try:
        entries = [(entry.name, entry.stat()) for entry in os.scandir(folder)]
    except FileNotFoundError:
        return frozenset()
    return frozenset((name, status.st_size, status.st_mtime_ns) for name, status in entries)


def _engine_options(settings: Settings) -> EngineOptions:
    return EngineOptions(
        engine=settings.engine,
        serving_weights=settings.serving_weights,
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


@lru_cache(maxsize=64)
def load_renderer(base: Path, adapter: Path | None) -> Renderer:
    """The renderer of a base model, or of an adapter, which has its own chat template."""
    return Renderer(base, adapter / "chat_template.jinja" if adapter else None)
