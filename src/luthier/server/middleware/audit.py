"""Writes the audit log: an entry for each request of a client that changed something.

Requests that only generate or compute are not in it. The entry follows the answer: a change whose process dies in
between is missing from the log, and is in the data.
"""

import logging
import re

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.server.http.auth import INTERNAL_CALLER
from luthier.server.http.status_recorder import StatusRecorder
from luthier.store import Store
from luthier.types.errors import UnavailableError
from luthier.types.projects import Caller

_log = logging.getLogger(__name__)
_CHANGING = {"POST", "DELETE", "PUT", "PATCH"}
# Routes that make nothing which belongs to somebody else tomorrow.
_GENERATING = re.compile(
    r"/v1/(chat/completions|completions|responses|embeddings|moderations|evaluations/(losses|grade)|.*graders/.*)$"
)
_MAX_PATH_CHARACTERS = 500


class Audit:
    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app, self._entries = app, store.audit_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        recorder = StatusRecorder(send)

        await self._app(scope, receive, recorder)
        if scope["type"] == "http" and 200 <= recorder.status < 300 and _is_change(scope):
            await run_in_threadpool(self._record, scope)

    def _record(self, scope: Scope) -> None:
        caller: Caller = scope["state"]["caller"]
        try:
            self._entries.record(
                key_id=caller.key_id,
                project=caller.project,
                client=(scope.get("client") or ("-", 0))[0],
                action=f"{scope['method']} {getattr(scope.get('route'), 'path', scope['path'])}",
                path=scope["path"][:_MAX_PATH_CHARACTERS],
                request_id=scope["state"]["request_id"],
            )
        except (SQLAlchemyError, UnavailableError):
            _log.exception("the audit log could not be written for request %s", scope["state"]["request_id"])


def _is_change(scope: Scope) -> bool:
    """Of a client, by its method and route."""
    return INTERNAL_CALLER not in scope and scope["method"] in _CHANGING and not _GENERATING.match(scope["path"])
