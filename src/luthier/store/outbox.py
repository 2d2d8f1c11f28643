"""The outbox: outgoing messages, written in the transaction of the change that they report.

So a committed change is reported however the process ends, and an uncommitted one never is. A worker sends the messages
after the commit (`luthier.store.work_queue`), at least once: a message whose worker died while sending it is sent again
under the same id. Messages about one subject reach a destination in the order of their changes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Index,
    RowMapping,
    Table,
    and_,
    delete,
    exists,
    func,
    insert,
    select,
)

from luthier.store.column_types import Int64, LongText, short_text
from luthier.store.database import Database, key_columns, lease_columns, metadata
from luthier.store.pagination import Page, fetch_page
from luthier.store.work_queue import LeasedTable
from luthier.types.common import now
from luthier.types.ids import new_id
from luthier.types.webhooks import MessageStatus

GIVE_UP_S = 72 * 3600
_FIRST_PAUSE_S, _MAX_PAUSE_S = 5, 3600  # each pause is twice the previous one
_KEPT_S = 7 * 24 * 3600  # messages that were delivered or given up, as a log

outbox = Table(
    "outbox",
    metadata,
    *key_columns(),
    Column("status", short_text(16), nullable=False, index=True),
    Column("destination", short_text(64), nullable=False),
    Column("subject", short_text(64), nullable=False),
    Column("body", JSON, nullable=False),
    Column("created_at", Int64, nullable=False),
    Column("attempts", Int64, nullable=False),
    Column("last_attempt_at", Int64),
    Column("status_code", Int64),
    Column("error", LongText),
    *lease_columns(),
    Index("outbox_by_destination", "destination", "status", "subject", "seq"),
)


@dataclass(frozen=True)
class Message:
    """`destination`: the id of its endpoint. `subject`: the id of the object that it is about.

    `attempts`: failed attempts so far. `next_attempt_at` is in Unix seconds, null for a message that is not pending.
    """

    id: str
    destination: str
    subject: str
    body: dict[str, Any]
    status: MessageStatus
    created_at: int
    attempts: int
    last_attempt_at: int | None
    next_attempt_at: int | None
    status_code: int | None
    error: str | None


class Outbox:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.queue = LeasedTable(database, outbox)

    def claim(self, owner: str, excluding: Collection[str] = ()) -> Message | None:
        """Lease the message that has been due longest to `owner`; None if there is none.

        Only one message at a time is sent to a destination, so that one that does not answer does not delay others.
        """
        due = func.coalesce(outbox.c.lease_until, outbox.c.created_at)
        is_next = _is_next(self._database.current_time())
        row = self.queue.claim(owner, ("pending",), excluding=excluding, where=is_next, order=due, exclusive=True)
        return _message(row) if row else None

    def record_delivery(self, message: Message, owner: str, status_code: int) -> None:
        attempt = _attempt(message, status_code, None)
        self.queue.transition(message.id, ("pending",), "delivered", owner=owner, **attempt)

    def record_failure(self, message: Message, owner: str, error: str, status_code: int | None = None) -> None:
        """Schedule the message to be sent again after a pause, or give it up `GIVE_UP_S` after it was written."""
        pause_s = min(_FIRST_PAUSE_S * 2 ** min(message.attempts, 20), _MAX_PAUSE_S)
        attempt = _attempt(message, status_code, error)
        if now() + pause_s > message.created_at + GIVE_UP_S:
            self.queue.transition(message.id, ("pending",), "failed", owner=owner, **attempt)
        else:
            self.queue.release(message.id, owner, retry_after_s=pause_s, **attempt)

    def list(self, destination: str, *, limit: int, after: str | None) -> Page[Message]:
        """Newest first."""
        query = select(outbox).where(outbox.c.destination == destination)
        with self._database.read() as connection:
            return fetch_page(connection, query, outbox, _message, limit=limit, after=after)

    def delete_old(self) -> None:
        """Deletes messages that were delivered or given up a week ago."""
        old = and_(outbox.c.status != "pending", outbox.c.created_at < now() - GIVE_UP_S - _KEPT_S)
        with self._database.read() as connection:
            if connection.scalar(select(outbox.c.seq).where(old).limit(1)) is None:
                return
        with self._database.write() as connection:
            connection.execute(delete(outbox).where(old))


def post_message(connection: Connection, *, destination: str, subject: str, body: dict[str, Any]) -> None:
    """Add a message inside the transaction of the change that it reports."""
    row = {"id": new_id("wh_", 32), "status": "pending", "destination": destination, "subject": subject, "body": body}
    connection.execute(insert(outbox).values(**row, created_at=now(), attempts=0))


def drop_messages(connection: Connection, subjects: Sequence[str]) -> None:
    """Delete messages about `subjects` inside the transaction that deletes these, so that nothing more is sent about
    them."""
    connection.execute(delete(outbox).where(outbox.c.subject.in_(subjects), outbox.c.status == "pending"))


def drop_destination(connection: Connection, destination: str) -> None:
    """Delete the messages and the log of a destination inside the transaction that deletes it."""
    connection.execute(delete(outbox).where(outbox.c.destination == destination))


def _attempt(message: Message, status_code: int | None, error: str | None) -> dict[str, Any]:
    attempts = message.attempts + 1
    return {"attempts": attempts, "last_attempt_at": now(), "status_code": status_code, "error": error}


def _is_next(now_s: ColumnElement[float]) -> ColumnElement[bool]:
    """Whether no earlier message about the subject waits for the destination and nothing is being sent there."""
    earlier, sent = outbox.alias(), outbox.alias()
    same = [earlier.c[name] == outbox.c[name] for name in ("destination", "status", "subject")]
    is_sent_now = and_(sent.c.owner.is_not(None), sent.c.lease_until > now_s)
    busy = select(sent.c.destination).where(sent.c.status == "pending", is_sent_now)
    return and_(outbox.c.destination.not_in(busy), ~exists().where(*same, earlier.c.seq < outbox.c.seq))


def _message(row: RowMapping) -> Message:
    waits = row["status"] == "pending"
    next_attempt_at = int(row["lease_until"] or row["created_at"]) if waits else None
    names = [name for name in Message.__annotations__ if name != "next_attempt_at"]
    return Message(**{name: row[name] for name in names}, next_attempt_at=next_attempt_at)
