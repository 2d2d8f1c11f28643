"""Claims work from the store's queues and runs it: fine-tuning jobs, batches and evaluations.

A worker shares nothing with the server but the store, and the application that it is given for requests. It may run
beside the server or in a process of its own, and can be killed at any moment: whoever takes over its work continues.
"""

from luthier.worker.application import Application
from luthier.worker.context import WorkerContext
from luthier.worker.runner import Worker

__all__ = ["Application", "Worker", "WorkerContext"]
