"""Claims a job, runs its trainer, records what it says.

A worker shares nothing with the server but the store. It may be a thread beside the server or a program of its
own; it can be killed at any moment, and whoever takes its jobs over continues them.
"""

from luthier.worker.runner import Worker

__all__ = ["Worker"]
