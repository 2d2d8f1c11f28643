"""Which engine serves a base model on this machine, and why: `auto` goes by what was measured, see docs/serving.md."""

import logging
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from luthier.hardware import choose as choose_hardware
from luthier.inference.engine import Engine
from luthier.inference.family import known
from luthier.inference.pool import EngineOptions
from luthier.types.errors import BaseModelError

_log = logging.getLogger(__name__)
_OPENVINO = "2026.4."  # releases differ in the inputs of their paged attention
_MEASURED = ("x86_64", "amd64")


def pick(base: Path, options: EngineOptions) -> Callable[[Path, EngineOptions], Engine]:
    """What starts it. Raises BaseModelError when an engine is asked for by name that cannot be here."""
    name, why = _named(options) if options.engine != "auto" else _best(base, options)
    _log.info("%s is served by the engine %s: %s", base.name, name, why)
    if name == "native":
        from luthier.inference.native.engine import NativeEngine

        return NativeEngine
    if name == "openvino":
        from luthier.inference.compiled.engine import OpenVINOEngine

        return OpenVINOEngine
    if name == "batched":
        from luthier.inference.batched.engine import BatchedEngine

        return BatchedEngine
    from luthier.inference.transformers_engine import TransformersEngine

    return TransformersEngine


def _named(options: EngineOptions) -> tuple[str, str]:
    missing = _missing() if options.engine == "openvino" else None
    if missing:
        raise BaseModelError(f"The engine openvino cannot start: {missing}.")
    return options.engine, "the settings say so"


def _best(base: Path, options: EngineOptions) -> tuple[str, str]:
    if not known(base):
        return "transformers", "the others do not know its architecture"
    device, _ = choose_hardware(options.device, options.precision)
    if device != "cpu":
        return "batched", "there is a GPU"
    if platform.machine().lower() not in _MEASURED:
        return "batched", "openvino was measured on x86-64 only"
    missing = _missing()
    return ("batched", missing) if missing else ("openvino", "the quickest one on x86-64 processors")


def _missing() -> str | None:
    """Why openvino cannot be used, if so."""
    try:
        version = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return f"the package is not installed: pip install 'openvino=={_OPENVINO}*'"
    if not version.startswith(_OPENVINO):
        return f"openvino {version} is installed, and {_OPENVINO}x is what it is written for"
    return None
