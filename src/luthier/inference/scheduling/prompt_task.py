"""Prompt tasks: forward passes that generate nothing, for embeddings and scores, one pass per step."""

import logging
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

from luthier.inference.scheduling.fairness import fairness_key, low_priority
from luthier.types.errors import UnavailableError

_log = logging.getLogger(__name__)


class PromptTask:
    """`passes` yields after each forward pass and returns the value of `result`."""

    def __init__(self, passes: Generator[None, None, Any], release: Callable[[str], None]) -> None:
        """`release` frees the key's queue slot; it is called once, before the future is resolved."""
        self._passes, self._release = passes, release
        self.result: Future[Any] = Future()
        self.key, self.low_priority = fairness_key.get(), low_priority.get()

    def advance(self) -> bool:
        """Run one pass. False if the task has ended, or its caller has cancelled the future."""
        try:
            if not self.result.cancelled():
                next(self._passes)
                return True
            self._passes.close()
            self._release(self.key)
        except StopIteration as end:
            self._release(self.key)
            if self.result.set_running_or_notify_cancel():
                self.result.set_result(end.value)
        except Exception as error:
            _log.exception("a forward pass failed")
            self._release(self.key)
            if self.result.set_running_or_notify_cancel():
                self.result.set_exception(error)
        return False

    def abort(self) -> None:
        """End the task because the engine shuts down."""
        self._release(self.key)
        if self.result.set_running_or_notify_cancel():
            self.result.set_exception(UnavailableError("The server is shutting down."))
