"""Errors of a database server that cannot be reached or has ended a session, which do not exist on SQLite."""

import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError


def is_outage(error: BaseException) -> bool:
    """Whether the same statements may succeed once the database server is back."""
    if not isinstance(error, DBAPIError) or isinstance(error.orig, sqlite3.Error):
        return False
    return isinstance(error, OperationalError) or error.connection_invalidated


def may_be_committed(error: BaseException) -> bool:
    """Whether the session ended before the database server could report the outcome of the transaction."""
    return isinstance(error, DBAPIError) and error.connection_invalidated
