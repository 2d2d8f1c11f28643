"""Claims work from the store's queues and runs it: fine-tuning jobs, batches and evaluations.

A worker shares the store with the server, and sends requests through an injected application. It runs inside the server
or in a separate process, and can be killed at any moment: another worker continues its work.
"""

from luthier.worker.application import Application
from luthier.worker.context import WorkerContext
from luthier.worker.ray_trainer.launcher import require_launcher
from luthier.worker.runner import Worker

__all__ = ["Application", "Worker", "WorkerContext", "require_launcher"]
