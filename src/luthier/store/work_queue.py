"""A durable queue: a table whose rows workers lease.

The owner of a lease works on its row. Heartbeats renew a lease; without them it expires, and another worker takes over.
A change of status is one guarded `UPDATE ... WHERE status IN (...)`, with its event in the same transaction, so only
one of two concurrent changes succeeds.

A worker that was cut off may not know that its lease has expired. So each claim of a row has a greater number than the
previous one, its fencing token, and writes for an older claim are refused and counted.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from copy import copy
from typing import Any, NoReturn, Self

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, case, func, null, or_, select, update

from luthier.store.database import Database
from luthier.store.project_scope import Scoped
from luthier.types.errors import StaleClaimError

_log = logging.getLogger(__name__)
LEASE_S = 30.0
_RENEW_AFTER_S = 5.0  # a heartbeat before that only reads
_MAX_PAUSE_S = 2 * 3600.0  # before a retry
OWNER_SEPARATOR = "/"  # an owner is a worker's id, this separator, and its lane

OnRow = Callable[[Connection, str], None]


def _no_event(_connection: Connection, _row_id: str) -> None:
    pass


class LeasedTable:
    """The queue over a table with the columns `seq`, `id`, `status`, `owner` and `lease_until`.

    `on_row` of `transition` and `requeue_lost` runs in the transaction of the change, for related writes.
    """

    _token: int | None = None

    def __init__(self, database: Database, table: Table) -> None:
        self._database, self._table, self._columns = database, table, table.c

    def holding(self, token: int) -> "LeasedTable":
        """The same queue for the run of one claim: writing to a row that has been claimed again raises
        StaleClaimError."""
        guarded = copy(self)
        guarded._token = token
        return guarded

    def claim(
        self,
        owner: str,
        statuses: Sequence[str],
        *,
        excluding: Collection[str] = (),
        where: ColumnElement[bool] | None = None,
        order: ColumnElement[Any] | None = None,
        exclusive: bool = False,
        **values: Any,
    ) -> RowMapping | None:
        """Lease the oldest row in one of `statuses` that has no valid lease; None if there is none.

        `excluding`: ids not to claim, such as those that the caller still works on although their lease has expired.
        `where`: a further condition. `order`: the order of claims, by default the oldest first. `exclusive`: allows one
        claim at a time, for conditions about other rows. `values` are set together with the lease.
        """
        columns = self._columns
        claimable = and_(columns.status.in_(list(statuses)), self.unleased(), columns.id.not_in(list(excluding)))
        if where is not None:
            claimable &= where
        first = (columns.seq,) if order is None else (order, columns.seq)
        oldest = select(columns.id).where(claimable).order_by(*first).limit(1)
        with self._database.read() as connection:
            if connection.scalar(oldest) is None:  # polling takes no write lock
                return None
        with self._database.write(exclusive=exclusive) as connection:
            row_id = connection.scalar(oldest.with_for_update(skip_locked=True))
            if row_id is None:
                return None
            this = columns.id == row_id
            lease = {"owner": owner, "lease_until": self._database.current_time() + LEASE_S, **self._next_token()}
            connection.execute(update(self._table).where(this).values(**lease, **values))
            return connection.execute(select(self._table).where(this)).mappings().one()

    def heartbeat(self, row_id: str, owner: str, **values: Any) -> str | None:
        """Renew the lease and set `values`. Returns the row's status, or None if `owner` no longer holds the lease."""
        columns, now = self._columns, self._database.current_time()
        mine = self._owned(row_id, owner)
        with self._database.read() as connection:
            row = connection.execute(
                select(columns.status, (columns.lease_until - now).label("left_s")).where(mine)
            ).first()
        if row is None:
            return None
        renewed_lately = LEASE_S - _RENEW_AFTER_S <= row.left_s <= LEASE_S
        if values or not renewed_lately:
            with self._database.write(exclusive=False) as connection:
                renewed = update(self._table).where(mine).values(lease_until=now + LEASE_S, **values)
                if not connection.execute(renewed).rowcount:
                    return None
        return str(row.status)

    def status(self, row_id: str) -> str | None:
        """The status of a row; None if the row no longer exists."""
        with self._database.read() as connection:
            return connection.scalar(select(self._columns.status).where(self._columns.id == row_id))

    def release(self, row_id: str, owner: str, *, retry_after_s: float = 0.0, **values: Any) -> None:
        """End `owner`'s lease and set `values`; any worker can claim the row again after `retry_after_s`."""
        unleased = self._no_lease(retry_after_s)
        with self._database.write(exclusive=False) as connection:
            mine = self._owned(row_id, owner)
            connection.execute(update(self._table).where(mine).values(**unleased, **values))

    def release_worker(self, worker_id: str) -> None:
        """End every lease of a dead worker."""
        owned = self._columns.owner.startswith(worker_id + OWNER_SEPARATOR, autoescape=True)
        with self._database.read() as connection:
            if connection.scalar(select(self._columns.id).where(owned).limit(1)) is None:
                return
        with self._database.write() as connection:
            ended = {"owner": None, "lease_until": None, **self._next_token()}
            connection.execute(update(self._table).where(owned).values(**ended))

    def transition(
        self,
        row_id: str,
        allowed: Sequence[str],
        to: str,
        *,
        release: bool = True,
        retry_after_s: float = 0.0,
        owner: str | None = None,
        on_row: OnRow = _no_event,
        **values: Any,
    ) -> bool:
        """Change the status from one of `allowed` to `to`; False, and nothing changes, for a row in another status.

        `release`: also ends the lease, and the row can be claimed after `retry_after_s`. `owner`: changes only while
        this owner holds the lease.
        """
        guard = and_(self.this(row_id), self._columns.status.in_(list(allowed)))
        if owner is not None:
            guard &= self._columns.owner == owner
        if release:
            values |= self._no_lease(retry_after_s)
        else:  # a row that waits for a retry has no owner, and no reason to wait in its new status
            columns = self._columns
            values["lease_until"] = case((columns.owner.is_(None), null()), else_=columns.lease_until)
        return self.write(guard, row_id, on_row, status=to, **values)

    def write(self, guard: ColumnElement[bool], row_id: str, on_row: OnRow, **values: Any) -> bool:
        """Set `values` and run `on_row` if the row meets `guard`; False, and nothing changes, if it does not.

        Raises StaleClaimError for a row that has been claimed again, if this queue belongs to one claim.
        """
        with self._database.write(exclusive=False) as connection:
            if connection.execute(update(self._table).where(guard).values(**values)).rowcount:
                on_row(connection, row_id)
                return True
        if self._token is not None and self._newest_token(row_id) > self._token:
            self.refuse(row_id)
        return False

    def refuse(self, row_id: str) -> NoReturn:
        """Count a write of an older claim, and raise StaleClaimError."""
        _log.warning("a write to %s was refused: another worker has claimed it", row_id)
        counted = update(self._table).where(self._columns.id == row_id)
        with self._database.write(exclusive=False) as connection:
            connection.execute(counted.values(stale_writes=self._columns.stale_writes + 1))
        raise StaleClaimError(row_id)

    def count_stale_writes(self) -> int:
        """Writes of older claims that were refused, over all rows."""
        with self._database.read() as connection:
            return int(connection.scalar(select(func.coalesce(func.sum(self._columns.stale_writes), 0))) or 0)

    def this(self, row_id: str) -> ColumnElement[bool]:
        """The condition for the row, as long as the claim of this queue is its newest."""
        this = self._columns.id == row_id
        return this if self._token is None else and_(this, self._columns.fencing_token == self._token)

    def requeue_lost(
        self, running: str, queued: str, *, excluding: Collection[str] = (), on_row: OnRow = _no_event, **values: Any
    ) -> Sequence[str]:
        """Return rows in the status `running` without a valid lease to `queued`. Returns their ids."""
        columns = self._columns
        lost = and_(columns.status == running, self.unleased(), columns.id.not_in(list(excluding)))
        with self._database.read() as connection:
            if connection.scalar(select(columns.id).where(lost).limit(1)) is None:
                return []
        with self._database.write() as connection:
            rows = select(columns.id).where(lost).order_by(columns.seq).with_for_update(skip_locked=True)
            ids = connection.scalars(rows).all()
            lease = {"owner": None, "lease_until": None, **self._next_token()}
            requeued = update(self._table).where(columns.id.in_(ids)).values(status=queued, **lease, **values)
            connection.execute(requeued)
            for row_id in ids:
                on_row(connection, row_id)
        return ids

    def _owned(self, row_id: str, owner: str) -> ColumnElement[bool]:
        return and_(self.this(row_id), self._columns.owner == owner)

    def _no_lease(self, retry_after_s: float) -> dict[str, ColumnElement[float] | None]:
        """The column values of a row that any worker may claim after `retry_after_s`."""
        return {"owner": None, "lease_until": self._database.current_time() + retry_after_s if retry_after_s else None}

    def _next_token(self) -> dict[str, ColumnElement[int]]:
        return {"fencing_token": self._columns.fencing_token + 1}

    def _newest_token(self, row_id: str) -> int:
        """The newest fencing token of a row; 0 if the row no longer exists."""
        with self._database.read() as connection:
            return connection.scalar(select(self._columns.fencing_token).where(self._columns.id == row_id)) or 0

    def unleased(self) -> ColumnElement[bool]:
        """Rows without an owner that are not waiting for a retry, or with an expired lease.

        No retry waits longer than `_MAX_PAUSE_S`: a row with a later time was written while the clock was ahead.
        """
        lease_until, now = self._columns.lease_until, self._database.current_time()
        from_future = and_(self._columns.owner.is_(None), lease_until > now + _MAX_PAUSE_S)
        return or_(lease_until.is_(None), lease_until < now, from_future)


class QueuePart(Scoped):
    """A part of the store over a table that is a queue."""

    queue: LeasedTable

    def holding(self, token: int) -> Self:
        """The same part for the run of one claim, see `LeasedTable.holding`."""
        guarded = copy(self)
        guarded.queue = self.queue.holding(token)
        return guarded
