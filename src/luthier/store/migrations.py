"""Migrations of databases of earlier versions, each in the transaction that opens the database.

A step adds columns to tables that exist; new tables are created from `database.metadata` afterwards. SQLite's ALTER
TABLE is transactional, so a migration happens completely or not at all.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from luthier.types.errors import LuthierError

_PROJECT = "project VARCHAR(64) DEFAULT 'default' NOT NULL"
_LEASE = ["owner VARCHAR(64)", "lease_until FLOAT", "attempts INTEGER DEFAULT '0' NOT NULL"]
# Columns that tables gain, by the version that a step starts from.
_STEPS = {
    1: {table: [_PROJECT] for table in ("files", "uploads", "jobs", "models")},
    2: {"evaluations": _LEASE},
    3: {"events": ["key VARCHAR(64)"]},
    4: {"api_keys": ["max_jobs INTEGER", "max_bytes BIGINT"]},
    5: {"jobs": ["name TEXT"]},
}
SCHEMA_VERSION = 1 + len(_STEPS)


def migrate(connection: Connection, path: Path) -> None:
    """Runs in a write transaction on a database with a version. Raises LuthierError for a later version."""
    version = connection.scalar(text("SELECT version FROM schema"))
    if version not in range(1, SCHEMA_VERSION + 1):
        raise LuthierError(
            f"{path} has schema version {version}, this Luthier reads versions up to {SCHEMA_VERSION}. "
            "Use the Luthier that wrote it, or another --data folder."
        )
    existing = set(inspect(connection).get_table_names())  # tables of later versions are created whole
    for step in range(version, SCHEMA_VERSION):
        for table in existing & set(_STEPS[step]):
            for column in _STEPS[step][table]:
                connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column}"))
    connection.execute(text("UPDATE schema SET version = :version"), {"version": SCHEMA_VERSION})
