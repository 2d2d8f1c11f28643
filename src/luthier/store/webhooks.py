"""Webhook endpoints: a row each, with the secret that signs what is sent there.

A change is announced in its own transaction (`announce`), which adds a message for each subscribed endpoint of the
project to the outbox (`luthier.store.outbox`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Column, Connection, RowMapping, Table, delete, insert, select, update

from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.database import Database, key_columns, metadata, project_column
from luthier.store.outbox import drop_destination, post_message
from luthier.store.pagination import Page, fetch_page
from luthier.store.project_scope import Scoped
from luthier.store.request_ids import resource_id
from luthier.types.common import now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.ids import new_id
from luthier.types.webhooks import EventType, WebhookEndpoint, WebhookEvent

MAX_ENDPOINTS = 100  # of a project
_OLD_SECRET_S = 24 * 3600

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    *key_columns(),
    Column("name", LongText, nullable=False),
    Column("url", LongText, nullable=False),
    Column("event_types", JSON, nullable=False),
    Column("secret", short_text(64), nullable=False),
    Column("old_secret", short_text(64)),  # also signs, beside the current one, until `old_secret_until`
    Column("old_secret_until", Int64),
    Column("created_at", Int64, nullable=False),
    Column("updated_at", Int64, nullable=False),
    project_column(),
)


@dataclass(frozen=True)
class StoredEndpoint:
    """An endpoint with the secrets that are valid now, the current one first."""

    endpoint: WebhookEndpoint
    secrets: Sequence[str]


class Webhooks(Scoped):
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, *, name: str, url: str, event_types: Sequence[EventType]) -> StoredEndpoint:
        """Create an endpoint, or return the one that an earlier attempt of the same request created.

        Raises BadRequestError for a project with too many.
        """
        table, endpoint_id, created = webhook_endpoints, resource_id("whe_"), now()
        row: dict[str, Any] = {"id": endpoint_id, "name": name, "url": url, "event_types": _distinct(event_types)}
        row |= {"secret": _new_secret(), "created_at": created, "updated_at": created}
        with self._database.write() as connection:
            if connection.scalar(select(table.c.seq).where(table.c.id == endpoint_id)) is None:
                siblings = select(table.c.seq).where(table.c.project == self._new_row_project)
                if len(connection.execute(siblings).all()) >= MAX_ENDPOINTS:
                    message = f"A project has at most {MAX_ENDPOINTS} webhook endpoints. Delete one that is not used."
                    raise BadRequestError(message, code="too_many_webhook_endpoints")
                connection.execute(insert(table).values(**row, project=self._new_row_project))
            return self._find(connection, endpoint_id)

    def retrieve(self, endpoint_id: str) -> StoredEndpoint:
        """Raises NotFoundError."""
        with self._database.read() as connection:
            return self._find(connection, endpoint_id)

    def list(self, *, limit: int, after: str | None) -> Page[WebhookEndpoint]:
        """Newest first."""
        table = webhook_endpoints
        with self._database.read() as connection:
            return fetch_page(connection, self._visible(table), table, _endpoint, limit=limit, after=after)

    def update(self, endpoint_id: str, **values: Any) -> StoredEndpoint:
        """Set name, url or event_types. Waiting messages go to the new URL. Raises NotFoundError."""
        if "event_types" in values:
            values["event_types"] = _distinct(values["event_types"])
        with self._database.write() as connection:
            endpoint = self._find(connection, endpoint_id).endpoint
            if any(getattr(endpoint, name) != value for name, value in values.items()):
                self._set(connection, endpoint_id, **values)
            return self._find(connection, endpoint_id)

    def rotate_secret(self, endpoint_id: str, *, keep_old: bool) -> StoredEndpoint:
        """Set a new secret, only once for a repeated request; `keep_old`: the old one stays valid for another 24 hours.

        Raises NotFoundError.
        """
        secret = _new_secret()
        with self._database.write() as connection:
            current = self._find(connection, endpoint_id).secrets[0]
            if secret != current:
                old = {"old_secret": current, "old_secret_until": now() + _OLD_SECRET_S} if keep_old else {}
                self._set(
                    connection, endpoint_id, **{"old_secret": None, "old_secret_until": None, **old}, secret=secret
                )
            return self._find(connection, endpoint_id)

    def delete(self, endpoint_id: str) -> None:
        """Delete an endpoint with its waiting messages and its log. Raises NotFoundError."""
        with self._database.write() as connection:
            self._find(connection, endpoint_id)
            drop_destination(connection, endpoint_id)
            connection.execute(delete(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id))

    def _set(self, connection: Connection, endpoint_id: str, **values: Any) -> None:
        changed = update(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id)
        connection.execute(changed.values(**values, updated_at=now()))

    def _find(self, connection: Connection, endpoint_id: str) -> StoredEndpoint:
        table = webhook_endpoints
        row = connection.execute(self._visible(table).where(table.c.id == endpoint_id)).mappings().first()
        if row is None:
            raise NotFoundError(f"No such webhook endpoint: {endpoint_id}", param="webhook_endpoint_id")
        old_is_valid = row["old_secret"] and row["old_secret_until"] > now()
        return StoredEndpoint(_endpoint(row), [row["secret"], *([row["old_secret"]] if old_is_valid else [])])


def announce(connection: Connection, project: str, event_type: str, subject: str) -> None:
    """Announce a change of `subject` to the project's endpoints, inside the transaction of that change.

    Raises ValidationError for an event type that `luthier.types.webhooks` does not have.
    """
    fields = {"id": new_id("evt_", 32), "created_at": now(), "type": event_type, "data": {"id": subject}}
    body = WebhookEvent.model_validate(fields).model_dump()
    table = webhook_endpoints
    endpoints = select(table.c.id, table.c.event_types).where(table.c.project == project)
    for endpoint_id, event_types in connection.execute(endpoints).all():
        if event_type in event_types:
            post_message(connection, destination=endpoint_id, subject=subject, body=body)


def _new_secret() -> str:
    """24 bytes in base64, as in Standard Webhooks; letters and digits alone are valid base64."""
    return resource_id("whsec_", 32)


def _distinct(event_types: Sequence[EventType]) -> Sequence[EventType]:
    return list(dict.fromkeys(event_types))


def _endpoint(row: RowMapping) -> WebhookEndpoint:
    values = {name: row[name] for name in WebhookEndpoint.model_fields if name in row}
    return WebhookEndpoint(**values, signing_secret_hint=f"whsec_...{row['secret'][-4:]}")
