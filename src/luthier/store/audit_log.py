"""The audit log: who changed what. One row per request that changed something; it is appended to, never edited."""

from dataclasses import dataclass

from sqlalchemy import Column, RowMapping, Table, delete, insert, select

from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.database import Database, key_columns, metadata
from luthier.store.pagination import Page, fetch_page
from luthier.types.common import now
from luthier.types.ids import new_id

_KEPT_S = 365 * 24 * 3600

audit_log = Table(
    "audit_log",
    metadata,
    *key_columns(),
    Column("created_at", Int64, nullable=False),
    Column("key_id", short_text(64)),  # null: a key of the settings, or none
    Column("project", short_text(64)),
    Column("client", short_text(64), nullable=False),
    Column("action", LongText, nullable=False),
    Column("path", LongText, nullable=False),
    Column("request_id", short_text(64), nullable=False),
)


@dataclass(frozen=True)
class AuditEntry:
    """`action`: method and route, such as `DELETE /v1/files/{file_id}`; `path`: as it was sent, without its query."""

    id: str
    created_at: int
    key_id: str | None
    project: str | None
    client: str
    action: str
    path: str
    request_id: str


class AuditLog:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self, *, key_id: str | None, project: str | None, client: str, action: str, path: str, request_id: str
    ) -> None:
        """Appends an entry, and deletes those of more than a year ago."""
        row = {"key_id": key_id, "project": project, "client": client, "action": action, "path": path}
        with self._database.write() as connection:
            connection.execute(
                insert(audit_log).values(id=new_id("audit_"), created_at=now(), request_id=request_id, **row)
            )
            oldest = connection.scalar(select(audit_log.c.created_at).order_by(audit_log.c.seq).limit(1))
            if oldest is not None and oldest < now() - _KEPT_S:
                connection.execute(delete(audit_log).where(audit_log.c.created_at < now() - _KEPT_S))

    def list(self, *, limit: int, after: str | None, project: str | None = None) -> Page[AuditEntry]:
        """List entries, newest first; with `project`, those of callers in it."""
        query = select(audit_log)
        if project is not None:
            query = query.where(audit_log.c.project == project)
        with self._database.read() as connection:
            return fetch_page(connection, query, audit_log, _entry, limit=limit, after=after)


def _entry(row: RowMapping) -> AuditEntry:
    return AuditEntry(**{name: row[name] for name in AuditEntry.__dataclass_fields__})
