"""Errors of a database server that goes away, for stores on any database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from luthier.store import Store


def outage() -> OperationalError:
    """The error of a statement whose session the server has ended."""
    lost = Exception("server closed the connection unexpectedly")
    return OperationalError("SELECT 1", {}, lost, connection_invalidated=True)


def lose_next_answer(store: Store, patch: pytest.MonkeyPatch) -> None:
    """The next transaction is committed, and the session ends before the server says so."""
    database, write = store._database, store._database.write

    @contextmanager
    def write_and_lose(**options: bool) -> Iterator[Connection]:
        with write(**options) as connection:
            yield connection
        patch.setattr(database, "write", write)
        raise outage()

    patch.setattr(database, "write", write_and_lose)


def fails_first(call: Callable[..., Any], times: int, error: Callable[[], Exception] = outage) -> Callable[..., Any]:
    """`call`, which meets an outage, or another error, the first `times` times."""
    remaining = iter(range(times))

    def fail(*arguments: Any, **options: Any) -> Any:
        if next(remaining, None) is not None:
            raise error()
        return call(*arguments, **options)

    return fail
