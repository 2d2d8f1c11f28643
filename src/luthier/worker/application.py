"""The interface through which workers send requests of batches and evaluations to the application.

`luthier.server.background` implements it; `luthier.runtime` injects the implementation.
"""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

import httpx

Result = TypeVar("Result")


class Application(Protocol):
    """The application; its coroutines run on `loop`, in another thread than the worker's."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    async def post(
        self, project: str, path: str, body: dict[str, Any], gate: AbstractAsyncContextManager[Any] | None = None
    ) -> httpx.Response:
        """Send a request of `project` with low priority and return the response; transient errors are retried.

        `gate` is acquired for each attempt and released between attempts.
        """
        ...


class LoopTask(Generic[Result]):
    """A coroutine that runs on another thread's event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Result]) -> None:
        self._loop, self._ended = loop, threading.Event()

        def start() -> None:
            self._task = loop.create_task(coroutine)
            self._task.add_done_callback(lambda _: self._ended.set())

        loop.call_soon_threadsafe(start)

    def wait(self, timeout_s: float) -> bool:
        """Whether the coroutine has ended."""
        return self._ended.wait(timeout_s)

    def cancel(self) -> None:
        """Returns once the coroutine has ended."""
        if not self._ended.is_set():
            self._loop.call_soon_threadsafe(lambda: self._task.cancel())
            self._ended.wait()

    def result(self) -> Result:
        """The result of an ended coroutine. Raises the exception that it raised."""
        return self._task.result()
