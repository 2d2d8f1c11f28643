"""Which engine serves a base model on this machine, and why: `auto` goes by what was measured, see docs/serving.md."""

import logging
import platform
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import torch

from luthier.arch import DecoderSpec
from luthier.hardware import choose as choose_hardware
from luthier.inference.engine import Engine
from luthier.inference.engines import native, openvino
from luthier.inference.engines import torch as batched
from luthier.inference.engines.fused_model import unsupported_message
from luthier.inference.engines.native.model import missing
from luthier.inference.pool import EngineOptions
from luthier.types.errors import BaseModelError

_log = logging.getLogger(__name__)
_OPENVINO = "2026.4."  # releases differ in the inputs of their paged attention
_MEASURED = ("x86_64", "amd64")
# The features that each engine computes; the engine transformers runs every architecture.
BACKENDS = {"native": native.BACKEND, "openvino": openvino.BACKEND, "batched": batched.BACKEND}


def pick(base: Path, options: EngineOptions) -> Callable[[Path, EngineOptions], Engine]:
    """The class of the engine. Raises BaseModelError when the settings name one that cannot run the model here."""
    name, why = _named(base, options) if options.engine != "auto" else _best(base, options)
    _log.info("%s is served by the engine %s: %s", base.name, name, why)
    if name == "native":
        from luthier.inference.engines.native.engine import NativeEngine

        return NativeEngine
    if name == "openvino":
        from luthier.inference.engines.openvino.engine import OpenVINOEngine

        return OpenVINOEngine
    if name == "batched":
        from luthier.inference.engines.torch.engine import BatchedEngine

        return BatchedEngine
    from luthier.inference.engines.transformers import TransformersEngine

    return TransformersEngine


def _named(base: Path, options: EngineOptions) -> tuple[str, str]:
    backend, spec = BACKENDS.get(options.engine), DecoderSpec.from_folder(base)
    if backend and backend.refusal(spec):
        raise BaseModelError(unsupported_message(base, spec, backend))
    blocked = _without_openvino() if options.engine == "openvino" else None
    if blocked:
        raise BaseModelError(f"The engine openvino cannot start: {blocked}.")
    return options.engine, "the settings name it"


def _best(base: Path, options: EngineOptions) -> tuple[str, str]:
    """The first candidate that supports the model and can start here; transformers if there is none."""
    spec, reason = DecoderSpec.from_folder(base), ""
    for name, blocked, advantage in _candidates(options):
        reason = BACKENDS[name].refusal(spec) or blocked() or ""
        if not reason:
            return name, advantage
        _log.info("%s is not served by the engine %s: %s", base.name, name, reason)
    return "transformers", f"it runs every architecture, and {reason}"


def _candidates(options: EngineOptions) -> Iterator[tuple[str, Callable[[], str | None], str]]:
    """Fastest first: (engine, why it cannot start on this machine, if so, why it is the fastest)."""
    device, precision = choose_hardware(options.device, options.precision)
    if device != "cpu":
        yield "batched", lambda: None, "it is the fastest engine on a GPU"
        return
    if precision == "bfloat16":
        yield "native", lambda: missing(torch.bfloat16, options.cache), "it is the fastest engine on CPUs with AMX"
    yield (
        "openvino",
        lambda: _unmeasured() or _without_openvino(),
        "it is the fastest engine on x86-64 CPUs without AMX",
    )
    yield "batched", lambda: None, "it is the fastest engine on this CPU that can start"


def _unmeasured() -> str | None:
    return None if platform.machine().lower() in _MEASURED else "it was measured on x86-64 only"


def _without_openvino() -> str | None:
    """Why the engine openvino cannot start, if so."""
    try:
        version = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return f"the package is not installed: pip install 'openvino=={_OPENVINO}*'"
    if not version.startswith(_OPENVINO):
        return f"openvino {version} is installed, and {_OPENVINO}x is what it is written for"
    return None
