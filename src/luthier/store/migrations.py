"""Databases of earlier versions brought to this one's tables, whole or not at all.

A step gives columns to tables that exist; new tables are made from `database.metadata` afterwards. SQLite's ALTER
TABLE is part of the transaction. Knows nothing about what the rows mean.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from luthier.types.errors import LuthierError

# From the version that a step starts with to the columns that tables gain.
_STEPS = {
    1: {table: ["project VARCHAR(64) DEFAULT 'default' NOT NULL"] for table in ("files", "uploads", "jobs", "models")},
}
SCHEMA_VERSION = 1 + len(_STEPS)


def migrate(connection: Connection, path: Path) -> None:
    """Inside a write transaction, on a database that has a version. Raises LuthierError for one of the future."""
    version = connection.scalar(text("SELECT version FROM schema"))
    if version not in range(1, SCHEMA_VERSION + 1):
        raise LuthierError(
            f"{path} has schema version {version}, this Luthier reads versions up to {SCHEMA_VERSION}. "
            "Use the Luthier that wrote it, or another --data folder."
        )
    there = set(inspect(connection).get_table_names())  # a table of later is made whole, afterwards
    for step in range(version, SCHEMA_VERSION):
        for table in there & set(_STEPS[step]):
            for column in _STEPS[step][table]:
                connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column}"))
    connection.execute(text("UPDATE schema SET version = :version"), {"version": SCHEMA_VERSION})
