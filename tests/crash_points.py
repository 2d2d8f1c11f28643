"""Ends a process before each write that its work makes, as SIGKILL would, and does the work again.

Writes are the commits of the database, the files that are opened for writing in the data folder, and the entries of a
folder that are made, renamed and removed. Between two of them nothing on the disk changes, so an end before each is an
end at every moment (apart from halves of a file, which other tests make).
"""

import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from luthier.store.batch_results import BatchResults

_ENTRY_EVENTS = {"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}
_STOPPED = 75
_MAX_STOPS = 200


def at_every_write(data: Path, work: Callable[[], None]) -> Iterator[None]:
    """Yields after `work` was ended before its first write, then before its second, until it came to its end.

    Each time the data folder begins as it is now. No store may be open on it, here or when the iteration goes on;
    the work may use one that was closed, which opens again.
    """
    prepared = data.with_name(data.name + "-prepared")
    shutil.copytree(data, prepared)
    for stop in range(1, _MAX_STOPS):
        shutil.rmtree(data)
        shutil.copytree(prepared, data)
        stopped = run(data, work, stop)
        yield
        if not stopped:
            return
    raise AssertionError(f"more than {_MAX_STOPS} writes")


def run(data: Path, work: Callable[[], None], stop: int | None = None) -> bool:
    """Does the work in a child process; whether it was ended before its write number `stop`."""
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            code = _work(data, work, stop)
        os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, _STOPPED), "the work failed; its traceback is above"
    return status == _STOPPED


def _work(data: Path, work: Callable[[], None], stop: int | None) -> int:
    writes = 0

    def count() -> None:
        nonlocal writes
        writes += 1
        if writes == stop:
            os._exit(_STOPPED)

    def on_audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name in _ENTRY_EVENTS or (name == "open" and _writes_inside(data, *arguments)):
            count()

    def on_commit(connection: Connection) -> None:
        if connection.get_execution_options().get("write"):
            count()

    add = BatchResults.add

    def add_counted(results: BatchResults, *arguments: Any, **options: Any) -> None:
        count()
        add(results, *arguments, **options)

    try:
        event.listen(Engine, "commit", on_commit)
        BatchResults.add = add_counted  # type: ignore[method-assign]
        sys.addaudithook(on_audit)
        work()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _writes_inside(data: Path, path: Any, _mode: Any, flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR)) and str(path).startswith(f"{data}/")
