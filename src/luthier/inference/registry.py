"""Which engine serves a base model on this machine, and why: `auto` goes by what was measured, see docs/serving.md."""

import logging
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch

from luthier.hardware import choose as choose_hardware
from luthier.inference.engine import Engine
from luthier.inference.engines.fused_layout import known
from luthier.inference.engines.native.model import missing
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


def _named(options: EngineOptions) -> tuple[str, str]:
    without = _without_openvino() if options.engine == "openvino" else None
    if without:
        raise BaseModelError(f"The engine openvino cannot start: {without}.")
    return options.engine, "the settings say so"


def _best(base: Path, options: EngineOptions) -> tuple[str, str]:
    if not known(base):
        return "transformers", "the others do not know its architecture"
    device, precision = choose_hardware(options.device, options.precision)
    if device != "cpu":
        return "batched", "there is a GPU"
    if precision == "bfloat16":
        why = missing(torch.bfloat16)
        if why is None:
            return "native", "the quickest one on processors with a matrix unit (AMX)"
        _log.info("the engine native is not taken: %s", why)
    if platform.machine().lower() not in _MEASURED:
        return "batched", "openvino was measured on x86-64 only"
    without = _without_openvino()
    return ("batched", without) if without else ("openvino", "the quickest one on x86-64 processors without AMX")


def _without_openvino() -> str | None:
    """Why it cannot be used, if so."""
    try:
        version = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        return f"the package is not installed: pip install 'openvino=={_OPENVINO}*'"
    if not version.startswith(_OPENVINO):
        return f"openvino {version} is installed, and {_OPENVINO}x is what it is written for"
    return None
