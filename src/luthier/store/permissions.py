"""Checkpoint permissions: the projects that may use a model of another project."""

from collections.abc import Sequence

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    RowMapping,
    ScalarSelect,
    Table,
    UniqueConstraint,
    delete,
    insert,
    select,
)

from luthier.store.column_types import Int64, short_text
from luthier.store.database import Database, key_columns, metadata, models
from luthier.store.pagination import Page, fetch_page
from luthier.types.common import now
from luthier.types.errors import NotFoundError
from luthier.types.ids import new_id
from luthier.types.permissions import Permission

permissions = Table(
    "permissions",
    metadata,
    *key_columns(),
    Column("model", ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("project", short_text(64), nullable=False),  # the one that may use the model
    Column("created_at", Int64, nullable=False),
    UniqueConstraint("model", "project"),
)


def shared_with(project: str) -> ScalarSelect[str]:
    """The names of the models of other projects that `project` may use."""
    return select(permissions.c.model).where(permissions.c.project == project).scalar_subquery()


class Permissions:
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, model: str, projects: Sequence[str]) -> list[Permission]:
        """One permission per project, in order; an existing one is returned as it is. Raises NotFoundError."""
        with self._database.write() as connection:
            if connection.scalar(select(models.c.seq).where(models.c.id == model)) is None:
                raise NotFoundError(f"The model '{model}' does not exist", code="model_not_found")
            return [_grant(connection, model, project) for project in dict.fromkeys(projects)]

    def list(
        self, model: str, *, project: str | None, limit: int, after: str | None, ascending: bool
    ) -> Page[Permission]:
        query = select(permissions).where(permissions.c.model == model)
        if project is not None:
            query = query.where(permissions.c.project == project)
        with self._database.read() as connection:
            return fetch_page(
                connection, query, permissions, _permission, limit=limit, after=after, ascending=ascending
            )

    def delete(self, model: str, permission_id: str) -> None:
        """Delete a permission; the project loses access with its next request. Raises NotFoundError."""
        this = (permissions.c.model == model) & (permissions.c.id == permission_id)
        with self._database.write() as connection:
            if not connection.execute(delete(permissions).where(this)).rowcount:
                raise NotFoundError(f"No such checkpoint permission: {permission_id}", param="permission_id")


def _grant(connection: Connection, model: str, project: str) -> Permission:
    this = (permissions.c.model == model) & (permissions.c.project == project)
    existing = select(permissions).where(this)
    if connection.execute(existing).first() is None:
        row = {"id": new_id("cp_"), "model": model, "project": project, "created_at": now()}
        connection.execute(insert(permissions).values(**row))
    return _permission(connection.execute(existing).mappings().one())


def _permission(row: RowMapping) -> Permission:
    return Permission(id=row["id"], created_at=row["created_at"], project_id=row["project"])
