"""One engine per base model, started on first use. Importing this module imports no torch."""

import gc
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from luthier.inference.engine import Embedder, Engine, TextEmbedder
from luthier.settings import DEFAULT_CACHE

_JUST_NOW_S = 10.0  # between asking for an engine and giving it work


@dataclass(frozen=True)
class VllmOptions:
    """As in the settings vllm_url, vllm_api_key, vllm_command and vllm_arguments."""

    url: str | None = None
    api_key: str | None = None
    command: str = "vllm"
    arguments: str = ""


@dataclass(frozen=True)
class EngineOptions:
    """As in the settings of the same names."""

    device: str = "auto"
    precision: str = "auto"
    adapters_in_memory: int = 8
    queue_limit: int = 64
    prefix_cache_bytes: int = 256 * 1024 * 1024
    engine: str = "auto"
    vllm: VllmOptions = VllmOptions()
    models_in_memory: int = 4
    cache: Path = DEFAULT_CACHE


def start_engine(base: Path, options: EngineOptions) -> Engine:
    """The engine for a base model folder, which `inference.picking` picks. Takes seconds: it reads the weights.

    Raises BaseModelError.
    """
    if options.engine == "vllm":
        from luthier.inference.engines.vllm.engine import VllmEngine

        return VllmEngine(base, options)
    if options.engine == "echo":
        from luthier.inference.engines.echo import EchoEngine

        return EchoEngine(base, options)
    from luthier.inference.registry import pick

    return pick(base, options)(base, options)


def start_encoder(folder: Path, options: EngineOptions) -> TextEmbedder:
    """The embedding model of a folder. Takes seconds, as an engine does."""
    from luthier.inference.engines.embedding import Encoder

    return Encoder(folder, options)


Started = TypeVar("Started", bound=Embedder)


class Pool(Generic[Started]):
    def __init__(self, options: EngineOptions, start: Callable[[Path, EngineOptions], Started]) -> None:
        self._options, self._start = options, start
        self._engines: dict[Path, Started] = {}
        self._used_at: dict[Path, float] = {}
        self._starting = threading.Lock()  # starts and ends, which take long, one at a time; taken before the other
        self._lock = threading.Lock()
        self._closed = False

    def engine(self, base: Path) -> Started:
        """Waits while another thread starts an engine, unless this one has been: a base is loaded once."""
        found = self.running(base)
        return self._started(base) if found is None else found

    def running(self, base: Path) -> Started | None:
        """The engine, if it has been started."""
        with self._lock:
            return self._found(base)

    def _found(self, base: Path) -> Started | None:
        if self._closed:
            raise RuntimeError("the engines have been closed")
        if base in self._engines:
            self._used_at[base] = monotonic()
        return self._engines.get(base)

    def _started(self, base: Path) -> Started:
        with self._starting:
            with self._lock:
                found = self._found(base)
                if found is not None:
                    return found
                gone = self._too_many()
            _end(gone)
            started = self._start(base, self._options)
            with self._lock:
                self._engines[base] = started
                self._used_at[base] = monotonic()
            return started

    def discard(self, base: Path) -> None:
        """The engine of a model that is no more; answers under way end."""
        with self._starting:
            with self._lock:
                gone = [self._taken(base)] if base in self._engines else []
            _end(gone)

    def _too_many(self) -> list[Started]:
        """Those that go before another starts. All that are busy, or were asked for just now, stay.

        Those of models that were removed from the disk go.
        """
        removed = [base for base, engine in self._engines.items() if engine.idle and not base.exists()]
        gone = [self._taken(base) for base in removed]
        now = monotonic()
        while len(self._engines) >= self._options.models_in_memory:
            unused = (base for base, at in self._used_at.items() if now - at > _JUST_NOW_S and self._engines[base].idle)
            oldest = min(unused, key=self._used_at.__getitem__, default=None)
            if oldest is None:
                break
            gone.append(self._taken(oldest))
        return gone

    def _taken(self, base: Path) -> Started:
        del self._used_at[base]
        return self._engines.pop(base)

    def close(self) -> None:
        with self._starting:
            with self._lock:
                self._closed = True
                gone = [self._taken(base) for base in list(self._engines)]
            _end(gone)


def _end(engines: Sequence[Embedder]) -> None:
    """May take a moment, and nobody who asks for another engine waits for it."""
    for engine in engines:
        engine.close()
    if engines:
        gc.collect()  # models are full of cycles, and theirs is the memory that is wanted back


class EnginePool(Pool[Engine]):
    def __init__(self, options: EngineOptions, start: Callable[[Path, EngineOptions], Engine] = start_engine) -> None:
        super().__init__(options, start)
