"""Stored responses: a row each, with an expiry and a limit on their number; inputs and outputs are items.

A response has only the items of its own request. Earlier items are found through `previous`, so a conversation of many
turns is stored once, and is cut off where a response in its middle was deleted or has expired. A compaction is also a
row: it has the items that it stands for.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Column, Connection, RowMapping, Table, delete, insert, not_, select, update

from luthier.store.column_types import Int64, short_text
from luthier.store.conversations import require_conversation
from luthier.store.database import Database, key_columns, metadata, project_column
from luthier.store.outbox import drop_messages
from luthier.store.pagination import Page, fetch_page
from luthier.store.project_scope import Scoped
from luthier.store.request_ids import is_seeded
from luthier.store.response_items import Item, add_items, drop_responses, excess, item_of, items, items_where
from luthier.store.webhooks import announce
from luthier.types.common import now
from luthier.types.errors import BadRequestError, NotFoundError
from luthier.types.responses import FINAL

_DAY_S = 24 * 3600
_MAX_DEPTH = 1024  # length of a chain of responses

responses = Table(
    "responses",
    metadata,
    *key_columns(),
    Column("object", short_text(24), nullable=False),  # "response" or "response.compaction"
    Column("status", short_text(16), nullable=False),
    Column("previous", short_text(64)),
    Column("conversation", short_text(64)),
    Column("fields", JSON, nullable=False),  # the response object without its output
    Column("deltas", JSON, nullable=False),  # the pieces in which the output was streamed
    Column("created_at", Int64, nullable=False),
    Column("expires_at", Int64, nullable=False),
    project_column(),
)


@dataclass(frozen=True)
class Retention:
    """A row is kept for `days`; beyond `max_rows`, over all projects, the oldest are deleted."""

    days: int
    max_rows: int


@dataclass(frozen=True)
class StoredResponse:
    """`response`: the object as the API returns it. `deltas`: see `create`."""

    response: dict[str, Any]
    deltas: list[list[list[int]]]


class Responses(Scoped):
    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        response: Mapping[str, Any],
        sent: list[Item],
        retention: Retention,
        *,
        deltas: list[list[list[int]]] | None = None,
        kind: str = "response",
    ) -> None:
        """Store a response with the items `sent` to it; with `conversation`, its input and output are added to that
        conversation once it ends.

        `deltas`: for each output item, the pieces in which it was streamed, each with its characters and its tokens
        with log-probabilities. A response stored by an earlier attempt of the same operation is replaced, since no
        client has received it. Raises NotFoundError for a conversation that has been deleted meanwhile.
        """
        conversation = (response.get("conversation") or {}).get("id")
        row: dict[str, Any] = {
            "id": response["id"],
            "object": kind,
            "status": response.get("status", "completed"),
            "previous": response.get("previous_response_id"),
            "conversation": conversation,
            "fields": _without_output(response),
            "deltas": deltas or [],
            "created_at": response["created_at"],
            "expires_at": now() + retention.days * _DAY_S,
            "project": self._new_row_project,
        }
        with self._database.write() as connection:
            if is_seeded():
                connection.execute(delete(items).where(items.c.response == row["id"]))
                connection.execute(delete(responses).where(responses.c.id == row["id"]))
            connection.execute(insert(responses).values(**row))
            owner = {"project": row["project"], "response": row["id"]}
            add_items(connection, sent, side="input", **owner)
            self._end(connection, response)
            _prune(connection, retention.max_rows)

    def start(self, response_id: str) -> None:
        """Mark a queued response as being generated."""
        this = (responses.c.id == response_id) & (responses.c.status == "queued")
        with self._database.write() as connection:
            connection.execute(update(responses).where(this).values(status="in_progress"))

    def finish(self, response: Mapping[str, Any], deltas: list[list[list[int]]]) -> bool:
        """Store the outcome of a response that was created unfinished, and announce it to the project's webhooks.

        Returns False if it had already ended or been deleted. Raises NotFoundError for a conversation that has been
        deleted meanwhile.
        """
        with self._database.write() as connection:
            this = (responses.c.id == response["id"]) & responses.c.status.not_in(FINAL)
            project = connection.scalar(select(responses.c.project).where(this))
            values = {"status": response["status"], "fields": _without_output(response), "deltas": deltas}
            if project is None:
                return False
            connection.execute(update(responses).where(this).values(**values))
            self._end(connection, response)
            announce(connection, project, f"response.{response['status']}", response["id"])
            return True

    def _end(self, connection: Connection, response: Mapping[str, Any]) -> None:
        """Add the output; a response that failed or was cancelled adds nothing to its conversation."""
        conversation = (response.get("conversation") or {}).get("id")
        if response.get("status") not in ("completed", "incomplete"):
            conversation = None
        if conversation:
            require_conversation(connection, self._visible, conversation)
            mine = items.c.response == response["id"]
            connection.execute(update(items).where(mine).values(conversation=conversation))
        owner = {"project": self._new_row_project, "response": response["id"], "conversation": conversation}
        add_items(connection, response.get("output", ()), side="output", **owner)

    def retrieve(self, response_id: str) -> StoredResponse:
        """Raises NotFoundError."""
        with self._database.read() as connection:
            row = self._row(connection, response_id)
            written = items_where(connection, items.c.response == response_id, items.c.side == "output")
            return StoredResponse({**row["fields"], "status": row["status"], "output": written}, row["deltas"])

    def input_items(self, response_id: str, *, limit: int, after: str | None, ascending: bool) -> Page[Item]:
        """List the items of its own request. Raises NotFoundError."""
        query = select(items).where(items.c.response == response_id, items.c.side == "input")
        with self._database.read() as connection:
            self._row(connection, response_id)
            return fetch_page(connection, query, items, item_of, limit=limit, after=after, ascending=ascending)

    def context(self, response_id: str) -> list[Item]:
        """All items that a request following this response builds on, from the first turn on.

        Raises NotFoundError for an unknown response and for one whose predecessor is missing; BadRequestError for one
        that has not ended or is too long.
        """
        with self._database.read() as connection:
            chain = self._chain(connection, response_id)
            if chain[0]["status"] not in ("completed", "incomplete"):
                status = chain[0]["status"]
                message = (
                    f"The response '{response_id}' is {status}; only completed and incomplete ones can be continued."
                )
                raise BadRequestError(message, param="previous_response_id")
            of_chain = items.c.response.in_([row["id"] for row in chain])
            too_long = excess(connection, of_chain)
            if too_long:
                raise _too_long(too_long)
            return items_where(connection, of_chain)  # each was created after the previous one had ended

    def ids(self, *, created_after: int | None, created_before: int | None) -> Sequence[str]:
        """The ids of responses with an output, newest first; times are in Unix seconds."""
        query = self._unexpired().where(responses.c.status.in_(("completed", "incomplete")))
        if created_after is not None:
            query = query.where(responses.c.created_at >= created_after)
        if created_before is not None:
            query = query.where(responses.c.created_at <= created_before)
        with self._database.read() as connection:
            ids = query.order_by(responses.c.seq.desc()).with_only_columns(responses.c.id)
            return list(connection.scalars(ids))

    def prompt(self, response_id: str) -> list[Item]:
        """The items of its request, after all stored items that it builds on. Raises NotFoundError."""
        with self._database.read() as connection:
            row = self._row(connection, response_id)
            try:
                chain = self._chain(connection, response_id)
            except (NotFoundError, BadRequestError):
                chain = [row]
            of_chain = items.c.response.in_([link["id"] for link in chain])
            return items_where(
                connection, of_chain, not_((items.c.response == response_id) & (items.c.side == "output"))
            )

    def items_by_id(self, ids: Collection[str], param: str) -> dict[str, Item]:
        """Items of stored responses and of conversations by their ids. Raises NotFoundError."""
        with self._database.read() as connection:
            rows = connection.execute(self._visible(items).where(items.c.id.in_(ids))).mappings().all()
            owners = {row["response"] for row in rows if row["conversation"] is None}
            alive = set(
                connection.scalars(
                    self._unexpired().where(responses.c.id.in_(owners)).with_only_columns(responses.c.id)
                )
            )
        items_by_id = {row["id"]: item_of(row) for row in rows if row["conversation"] or row["response"] in alive}
        missing = next((item_id for item_id in ids if item_id not in items_by_id), None)
        if missing is not None:
            message = f"Item with id '{missing}' not found. Items of responses with 'store' set to false are not kept."
            raise NotFoundError(message, param=param)
        return items_by_id

    def compacted(self, compaction_id: str, param: str) -> list[Item]:
        """The items that a compaction stands for. Raises NotFoundError."""
        with self._database.read() as connection:
            this = self._unexpired("response.compaction").where(responses.c.id == compaction_id)
            if connection.execute(this).first() is None:
                raise NotFoundError(
                    f"Compaction '{compaction_id}' not found; its items are no longer kept.", param=param
                )
            return items_where(connection, items.c.response == compaction_id)

    def delete(self, response_id: str) -> None:
        """Raises NotFoundError."""
        with self._database.write() as connection:
            self._row(connection, response_id)
            _delete(connection, [response_id])

    def delete_expired(self) -> None:
        with self._database.write() as connection:
            _delete(connection, list(connection.scalars(select(responses.c.id).where(responses.c.expires_at <= now()))))

    def _unexpired(self, kind: str = "response") -> Any:
        return self._visible(responses).where(responses.c.expires_at > now(), responses.c.object == kind)

    def _row(self, connection: Connection, response_id: str) -> RowMapping:
        query = self._unexpired().where(responses.c.id == response_id)
        row: RowMapping | None = connection.execute(query).mappings().first()
        if row is None:
            raise NotFoundError(f"Response with id '{response_id}' not found.", param="response_id")
        return row

    def _chain(self, connection: Connection, response_id: str) -> list[RowMapping]:
        """The response and its predecessors, newest first."""
        chain: list[RowMapping] = []
        previous: str | None = response_id
        while previous is not None:
            query = self._unexpired().where(responses.c.id == previous)
            columns = (responses.c.id, responses.c.status, responses.c.previous)
            row = connection.execute(query.with_only_columns(*columns)).mappings().first()
            if row is None:
                raise _no_previous(previous, chain[-1]["id"] if chain else None)
            chain.append(row)
            previous = row["previous"]
            if len(chain) > _MAX_DEPTH:
                raise _too_long(f"more than {_MAX_DEPTH:,} responses")
        return chain


def _without_output(response: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in response.items() if name != "output"}


def _too_long(length: str) -> BadRequestError:
    message = f"The previous responses have {length}. Send the last turns as `input` instead."
    return BadRequestError(message, param="previous_response_id", code="context_length_exceeded")


def _no_previous(response_id: str, later: str | None) -> NotFoundError:
    message = f"Previous response with id '{response_id}' not found."
    if later is not None:
        message += f" The response '{later}' builds on it; it was deleted or is no longer kept."
    return NotFoundError(message, param="previous_response_id", code="previous_response_not_found")


def _delete(connection: Connection, ids: list[str]) -> None:
    drop_responses(connection, ids)
    drop_messages(connection, ids)
    connection.execute(delete(responses).where(responses.c.id.in_(ids)))


def _prune(connection: Connection, max_rows: int) -> None:
    newest_first = select(responses.c.seq).order_by(responses.c.seq.desc())
    last_outdated = connection.scalar(newest_first.offset(max_rows).limit(1))
    if last_outdated is not None:
        outdated = select(responses.c.id).where(responses.c.seq <= last_outdated)
        _delete(connection, list(connection.scalars(outdated)))
