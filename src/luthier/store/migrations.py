"""Migrations of databases of earlier versions, each in the transaction that opens the database.

A step adds columns to existing tables, as in the table definitions; new tables are created afterwards. ALTER TABLE is
transactional on SQLite and PostgreSQL, so a migration happens completely or not at all.
"""

from typing import Any

from sqlalchemy import Column, Connection, MetaData, inspect, text
from sqlalchemy.schema import CreateColumn

from luthier.types.errors import LuthierError

_QUEUES = ("jobs", "batches", "evaluations", "eval_runs", "outbox")
# Columns that a step adds, by the version that it starts from. They are nullable or have a default.
_STEPS = {
    1: {table: ["project"] for table in ("files", "uploads", "jobs", "models")},
    2: {"evaluations": ["owner", "lease_until", "attempts"]},
    3: {"events": ["key"]},
    4: {"api_keys": ["max_jobs", "max_bytes"]},
    5: {"jobs": ["name"]},
    6: {table: ["fencing_token", "stale_writes"] for table in _QUEUES},
}
SCHEMA_VERSION = 1 + len(_STEPS)


def migrate(connection: Connection, name: str, metadata: MetaData) -> None:
    """Migrate a database, called `name` in messages, inside a write transaction.

    Raises LuthierError for a later version.
    """
    version = connection.scalar(text("SELECT version FROM schema"))
    if version not in range(1, SCHEMA_VERSION + 1):
        raise LuthierError(
            f"{name} has schema version {version}, this Luthier reads versions up to {SCHEMA_VERSION}. "
            "Use the Luthier that wrote it, or another --data folder."
        )
    existing = set(inspect(connection).get_table_names())  # tables of later versions are created completely
    for step in range(version, SCHEMA_VERSION):
        for table in existing & set(_STEPS[step]):
            for column in _STEPS[step][table]:
                definition = _definition(connection, metadata.tables[table].c[column])
                connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {definition}"))
    connection.execute(text("UPDATE schema SET version = :version"), {"version": SCHEMA_VERSION})


def _definition(connection: Connection, column: Column[Any]) -> str:
    """The column definition as in the database's CREATE TABLE statement."""
    return str(CreateColumn(column).compile(dialect=connection.dialect))
