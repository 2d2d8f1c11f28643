"""State shared by the handlers of a worker."""

import threading
from dataclasses import dataclass, field

from luthier.catalogue import Catalogue
from luthier.inference import EnginePool
from luthier.settings import Settings
from luthier.store import Store
from luthier.worker.application import Application


@dataclass(frozen=True)
class WorkerContext:
    """`engines` verify a trained model before its job succeeds; `stop` is set when the worker has to end."""

    settings: Settings
    store: Store
    catalogue: Catalogue
    engines: EnginePool
    application: Application
    stop: threading.Event = field(default_factory=threading.Event)
