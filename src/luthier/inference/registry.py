"""The engines, the choice between them, and their construction.

An engine is a plugin of the group `luthier.engines`: a factory `(base, options) -> ModelRunner | Engine`. A runner is
served by an EngineLoop with a scheduler of its own. `auto` follows measurements, see docs/serving.md.
Importing this module imports no engine and no torch.
"""

import logging
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from luthier import plugins
from luthier.arch import Backend, DecoderSpec
from luthier.devices import select_device
from luthier.hardware import limit_spinning
from luthier.inference.engine import Engine, TextEmbedder
from luthier.inference.engines import native
from luthier.inference.engines import torch as batched
from luthier.inference.model_runner import ModelRunner
from luthier.inference.options import EngineOptions
from luthier.inference.scheduling.loop import EngineLoop
from luthier.inference.scheduling.prefix_cache import PrefixCache
from luthier.inference.scheduling.scheduler import RunnerLimits, Scheduler
from luthier.types.errors import BaseModelError

_log = logging.getLogger(__name__)
_MEASURED = ("x86_64", "amd64")

Factory = Callable[[Path, EngineOptions], ModelRunner | Engine]


def engines() -> Mapping[str, Factory]:
    """All engines by name, built-in ones and those of other packages; each is imported on access."""
    return plugins.load("luthier.engines")


# The features of engines that do not run every architecture.
BACKENDS: dict[str, Backend] = {
    "native": native.BACKEND,
    "batched": batched.BACKEND,
}


def build_engine(base: Path, options: EngineOptions) -> Engine:
    """The engine for a base model folder. Takes seconds: it reads the weights. Raises BaseModelError."""
    limit_spinning()
    engine = engines()[select_engine(base, options).name](base, options)
    return serve(base, engine, options) if isinstance(engine, ModelRunner) else engine


def serve(base: Path, runner: ModelRunner, options: EngineOptions) -> EngineLoop:
    """Engine = EngineLoop(Scheduler(KVCache, LoraSlots, PrefixCache), ModelRunner)."""
    prefix_cache = PrefixCache(
        options.prefix_cache_bytes if runner.prefix_caching else 0, runner.kv_cache.release_prefix
    )
    scheduler = Scheduler(runner.kv_cache, runner.adapters, prefix_cache, RunnerLimits.of(runner))
    return EngineLoop(base, runner, scheduler, options.max_requests_per_key)


def build_embedding_model(folder: Path, options: EngineOptions) -> TextEmbedder:
    """The embedding model of a folder. Takes seconds. Raises BaseModelError."""
    limit_spinning()
    from luthier.inference.engines.embedding import EmbeddingModel

    return EmbeddingModel(folder, options)


def check_engine_name(name: str) -> None:
    """Raises BaseModelError for a name that is neither `auto` nor that of an engine."""
    if name != "auto" and name not in engines():
        raise BaseModelError(f"There is no engine {name}. The engines are: auto, {', '.join(engines())}.")


class Selection(NamedTuple):
    """An engine, and the reason for its selection in English and Chinese."""

    name: str
    reason: str
    chinese: str


def select_engine(base: Path, options: EngineOptions) -> Selection:
    """Select an engine. Raises BaseModelError if the options name an engine that cannot run the model here."""
    selection = _fastest(base, options) if options.engine == "auto" else _named(base, options)
    _log.info("%s is served by the engine %s: %s", base.name, selection.name, selection.reason)
    return selection


def _named(base: Path, options: EngineOptions) -> Selection:
    name = options.engine
    check_engine_name(name)
    if name in BACKENDS:
        spec = DecoderSpec.from_folder(base)
        if BACKENDS[name].refusal(spec):
            from luthier.inference.engines.fused_model import unsupported_message

            raise BaseModelError(unsupported_message(base, spec, BACKENDS[name]))
    return Selection(name, "it is set in the settings", "由设置指定")


def _fastest(base: Path, options: EngineOptions) -> Selection:
    """The first candidate that supports the model and can start here; transformers if there is none."""
    spec, reason, chinese = DecoderSpec.from_folder(base), "", ""
    for name, unavailable, *advantage in _candidates(options):
        reason = BACKENDS[name].refusal(spec) or unavailable() or ""
        if not reason:
            return Selection(name, *advantage)
        chinese = BACKENDS[name].refusal(spec, "zh") or reason
        _log.info("%s is not served by the engine %s: %s", base.name, name, reason)
    return Selection("transformers", f"it runs every architecture, and {reason}", f"它能运行所有架构，而{chinese}")


def _candidates(options: EngineOptions) -> Iterator[tuple[str, Callable[[], str | None], str, str]]:
    """Yields, fastest first: (engine, reason why it cannot start on this machine, if any, its advantage in English
    and Chinese)."""
    device, _ = select_device(options.device, options.precision)
    if device != "cpu":
        yield "batched", lambda: None, "it is the fastest engine on a GPU", "GPU 上最快的引擎"
        return
    yield (
        *("native", lambda: _unmeasured() or _native_unavailable(options.cache)),
        *("it is the fastest engine on this CPU", "这个 CPU 上最快的引擎"),
    )
    yield (
        "batched",
        lambda: None,
        "it is the fastest engine on this CPU that can start",
        "这个 CPU 上能启动的最快的引擎",
    )


def _native_unavailable(cache: Path) -> str | None:
    from luthier.inference.engines.native.library import unavailable

    return unavailable(cache)


def _unmeasured() -> str | None:
    return None if platform.machine().lower() in _MEASURED else "it was measured on x86-64 only"
