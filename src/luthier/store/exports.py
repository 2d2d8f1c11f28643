"""Exports of models: a row per export, for the lineage. The folders belong to the caller."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Column, Table, insert, select

from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.database import Database, metadata
from luthier.types.common import now

exports = Table(
    "exports",
    metadata,
    Column("seq", Int64, primary_key=True, autoincrement=True),
    Column("model", LongText, nullable=False, index=True),
    Column("target", short_text(64), nullable=False),
    Column("folder", LongText, nullable=False),  # where it was written; it may have been moved since then
    Column("artefacts", JSON, nullable=False),
    Column("created_at", Int64, nullable=False),
)


class Exports:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, model: str, target: str, folder: Path, artefacts: Sequence[dict[str, Any]]) -> None:
        """Record an export. `artefacts`: the verification results of each artefact."""
        row = {"model": model, "target": target, "folder": str(folder), "artefacts": list(artefacts)}
        with self._database.write() as connection:
            connection.execute(insert(exports).values(**row, created_at=now()))

    def list(self, model: str) -> Sequence[dict[str, Any]]:
        """Oldest first."""
        columns = [exports.c[name] for name in ("target", "folder", "artefacts", "created_at")]
        with self._database.read() as connection:
            query = select(*columns).where(exports.c.model == model).order_by(exports.c.seq)
            return [dict(row) for row in connection.execute(query).mappings()]
