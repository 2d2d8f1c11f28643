"""Servers beside Playwright, whose event loop runs in the tests' own thread, where the store may not be called."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from luthier.runtime import LuthierServer
from through_api import running_server

Result = TypeVar("Result")


def in_thread(act: Callable[..., Result], *arguments: object) -> Result:
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(act, *arguments).result()


@contextmanager
def threaded_server(data: Path, base: Path, **settings: object) -> Iterator[LuthierServer]:
    """As `running_server`, which starts and ends in a thread."""
    server = running_server(data, base, **settings)
    running = in_thread(server.__enter__)
    try:
        yield running
    finally:
        in_thread(server.__exit__, None, None, None)
