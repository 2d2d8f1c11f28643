"""One engine per base model, built on first use, with LRU eviction of idle engines."""

import gc
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from luthier.inference.engine import Embedder, Engine
from luthier.inference.options import EngineOptions
from luthier.inference.registry import build_engine, check_engine_name
from luthier.inference.stats import EngineSnapshot, Measured

_RECENT_S = 10.0  # between getting an engine and submitting to it

AnyModel = TypeVar("AnyModel", bound=Embedder)


class Pool(Generic[AnyModel]):
    def __init__(self, options: EngineOptions, build: Callable[[Path, EngineOptions], AnyModel]) -> None:
        self._options, self._build = options, build
        self._engines: dict[Path, AnyModel] = {}
        self._used_at: dict[Path, float] = {}
        # Building and closing are slow and happen one at a time; acquired before `_lock`.
        self._build_lock = threading.Lock()
        self._lock = threading.Lock()
        self._closed = False

    def engine(self, base: Path) -> AnyModel:
        """Return the engine of a base. Blocks while another thread builds an engine, unless this one is loaded, so
        that a base is loaded only once."""
        return self.running(base) or self._load(base)

    def running(self, base: Path) -> AnyModel | None:
        """The engine, if it is loaded."""
        with self._lock:
            return self._lookup(base)

    def snapshots(self) -> dict[str, EngineSnapshot]:
        """Of the loaded engines that report numbers, by the name of their base model's folder."""
        with self._lock:
            engines: list[tuple[Path, Embedder]] = list(self._engines.items())
        return {base.name: engine.snapshot() for base, engine in engines if isinstance(engine, Measured)}

    def discard(self, base: Path) -> None:
        """Closes the engine of a deleted model, if it is loaded; its generations are cancelled."""
        with self._build_lock:
            with self._lock:
                evicted = [self._evict(base)] if base in self._engines else []
            _close(evicted)

    def close(self) -> None:
        with self._build_lock:
            with self._lock:
                self._closed = True
                evicted = [self._evict(base) for base in list(self._engines)]
            _close(evicted)

    def _lookup(self, base: Path) -> AnyModel | None:
        if self._closed:
            raise RuntimeError("the engines have been closed")
        if base in self._engines:
            self._used_at[base] = monotonic()
        return self._engines.get(base)

    def _load(self, base: Path) -> AnyModel:
        with self._build_lock:
            with self._lock:
                engine = self._lookup(base)
                if engine is not None:
                    return engine
                evicted = self._make_room()
            _close(evicted)
            engine = self._build(base, self._options)
            with self._lock:
                self._engines[base] = engine
                self._used_at[base] = monotonic()
            return engine

    def _make_room(self) -> list[AnyModel]:
        """Evicts idle engines of deleted models, then the least recently used ones that are idle and not recent."""
        deleted = [base for base, engine in self._engines.items() if engine.idle and not base.exists()]
        evicted = [self._evict(base) for base in deleted]
        now = monotonic()
        while len(self._engines) >= self._options.max_models:
            idle = (base for base, time in self._used_at.items() if now - time > _RECENT_S and self._engines[base].idle)
            oldest = min(idle, key=self._used_at.__getitem__, default=None)
            if oldest is None:
                break
            evicted.append(self._evict(oldest))
        return evicted

    def _evict(self, base: Path) -> AnyModel:
        del self._used_at[base]
        return self._engines.pop(base)


def _close(engines: Sequence[Embedder]) -> None:
    """Close engines, which may take a moment; callers that need another loaded engine do not wait."""
    for engine in engines:
        engine.close()
    if engines:
        gc.collect()  # models are full of reference cycles


class EnginePool(Pool[Engine]):
    def __init__(self, options: EngineOptions, build: Callable[[Path, EngineOptions], Engine] = build_engine) -> None:
        """Raises BaseModelError for an unknown engine name."""
        check_engine_name(options.engine)
        super().__init__(options, build)
