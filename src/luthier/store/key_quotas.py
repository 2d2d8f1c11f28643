"""Limits of a managed key on unfinished jobs and stored bytes, enforced in the transaction that creates them.

Every object that a key has created is a row of `key_objects`; a job counts until it ends, a file until it is deleted,
and a pending upload with its announced size.
"""

from contextvars import ContextVar

from sqlalchemy import Column, Connection, Index, Table, and_, delete, func, insert, select

from luthier.store.column_types import short_text
from luthier.store.database import Database, files, jobs, metadata
from luthier.types.common import now
from luthier.types.errors import RateLimitError
from luthier.types.fine_tuning import OPEN
from luthier.types.projects import Caller

# The caller of the current request; without a key outside of requests.
calling: ContextVar[Caller | None] = ContextVar("calling", default=None)

key_objects = Table(
    "key_objects",
    metadata,
    Column("object_id", short_text(64), primary_key=True),
    Column("key_id", short_text(64), nullable=False),
    Index("key_objects_by_key", "key_id"),
)


def charge_job(connection: Connection, job_id: str) -> None:
    """Count a job after the insertion of its row. Raises RateLimitError, which ends the transaction, above the key's
    limit."""
    caller = _charge(connection, job_id)
    if caller is None or caller.max_jobs is None:
        return
    unfinished = select(func.count()).select_from(jobs.join(key_objects, key_objects.c.object_id == jobs.c.id))
    count = connection.scalar(unfinished.where(key_objects.c.key_id == caller.key_id, jobs.c.status.in_(OPEN))) or 0
    if count > caller.max_jobs:
        raise _error(
            "requests",
            "rate_limit_exceeded",
            f"Rate limit reached for this API key on active fine-tuning jobs: Limit {caller.max_jobs}, "
            f"Used {count - 1}, Requested 1. Please try again after one of its jobs has ended.",
        )


def charge_bytes(connection: Connection, object_id: str, size_bytes: int) -> None:
    """Count the bytes of a file or an upload after the insertion of its row. Raises RateLimitError like
    `charge_job`."""
    caller = _charge(connection, object_id)
    if caller is None or caller.max_bytes is None:
        return
    used = _stored_bytes(connection, str(caller.key_id))
    if used > caller.max_bytes:
        raise _error(
            "insufficient_quota",
            "insufficient_quota",
            f"You exceeded your current quota: the files of this API key may hold {caller.max_bytes:,} bytes, they "
            f"hold {used - size_bytes:,}, and {size_bytes:,} were requested. Delete files that are not needed, or ask "
            "an admin of this server for a key with a higher limit.",
        )


def forget_deleted(database: Database) -> None:
    """Delete the rows of objects that no longer exist."""
    deleted = and_(*(key_objects.c.object_id.not_in(select(table.c.id)) for table in (files, jobs, _uploads())))
    with database.read() as connection:
        if connection.scalar(select(key_objects.c.object_id).where(deleted).limit(1)) is None:
            return
    with database.write() as connection:
        connection.execute(delete(key_objects).where(deleted))


def _charge(connection: Connection, object_id: str) -> Caller | None:
    """Record the object for the caller's managed key. Returns the caller; None without a managed key."""
    caller = calling.get()
    if caller is None or caller.key_id is None:
        return None
    connection.execute(insert(key_objects).values(object_id=object_id, key_id=caller.key_id))
    return caller


def _stored_bytes(connection: Connection, key_id: str) -> int:
    uploads, total = _uploads(), 0
    for table, counts in (
        (files, files.c.expires_at.is_(None) | (files.c.expires_at > now())),
        (uploads, (uploads.c.status == "pending") & (uploads.c.expires_at > now())),
    ):
        owned = table.join(key_objects, key_objects.c.object_id == table.c.id)
        query = select(func.sum(table.c.bytes)).select_from(owned).where(key_objects.c.key_id == key_id, counts)
        total += int(connection.scalar(query) or 0)
    return total


def _uploads() -> Table:
    """The table of uploads, looked up by name because its module imports this one."""
    return metadata.tables["uploads"]


def _error(kind: str, code: str, message: str) -> RateLimitError:
    """The error tells clients not to retry by themselves, since a retry succeeds only after somebody has freed
    space."""
    error = RateLimitError(message, code=code, headers={"x-should-retry": "false"})
    error.type = kind
    return error
