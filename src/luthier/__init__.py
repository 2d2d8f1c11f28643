"""Luthier: OpenAI's fine-tuning API on your own CPU or GPU.

The public Python API. Names are imported on first use (PEP 562), so `import luthier` loads neither torch nor the
server:

    from luthier import LuthierServer, Settings, check_file

    report = check_file(Path("train.jsonl"))
    with LuthierServer(Settings(port=0)) as server:
        client = openai.OpenAI(base_url=server.endpoint.base_url, api_key=server.endpoint.api_key)

    LuthierServer     HTTP server and worker on one data folder, as a context manager
    create_app        the ASGI application alone
    Settings          every setting of the server; also read from LUTHIER_* environment variables
    Catalogue         base models: from a name to a folder with weights, tokenizer and chat template
    Renderer          messages to token ids and loss weights, through a base model's chat template
    check_file        every error of a training file, with its line and remedy
    evaluate          a model measured on held-out examples, through any OpenAI client
    LuthierError      root of the error tree; APIError, JobError, BaseModelError, RenderError

Every other module is internal and may change between releases.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.catalogue import Catalogue
    from luthier.data.check.file_check import check_file
    from luthier.data.rendering.renderer import Renderer
    from luthier.evaluation import evaluate
    from luthier.runtime import LuthierServer
    from luthier.server import create_app
    from luthier.settings import Settings
    from luthier.types.errors import APIError, BaseModelError, JobError, LuthierError, RenderError

__version__ = "0.2.0.dev0"
__all__ = [
    "APIError",
    "BaseModelError",
    "Catalogue",
    "JobError",
    "LuthierError",
    "LuthierServer",
    "RenderError",
    "Renderer",
    "Settings",
    "__version__",
    "check_file",
    "create_app",
    "evaluate",
]

_SOURCES = {
    "APIError": "luthier.types.errors:APIError",
    "BaseModelError": "luthier.types.errors:BaseModelError",
    "Catalogue": "luthier.catalogue:Catalogue",
    "JobError": "luthier.types.errors:JobError",
    "LuthierError": "luthier.types.errors:LuthierError",
    "LuthierServer": "luthier.runtime:LuthierServer",
    "RenderError": "luthier.types.errors:RenderError",
    "Renderer": "luthier.data.rendering.renderer:Renderer",
    "Settings": "luthier.settings:Settings",
    "check_file": "luthier.data.check.file_check:check_file",
    "create_app": "luthier.server:create_app",
    "evaluate": "luthier.evaluation:evaluate",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use and caches it as a module attribute."""
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _SOURCES[name].split(":")
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
