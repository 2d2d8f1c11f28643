"""Writes the audit log: one entry for each client request that changed something.

Requests that only generate or compute are not logged. The entry is written after the response: if the process dies in
between, a change is missing from the log.
"""

import logging
import re

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.server.http.auth import INTERNAL_CALLER
from luthier.server.http.status_recorder import StatusRecorder
from luthier.store import Store
from luthier.store.failure_log import log_failure
from luthier.types.errors import UnavailableError
from luthier.types.projects import Caller

_log = logging.getLogger(__name__)
_CHANGING = {"POST", "DELETE", "PUT", "PATCH"}
# Routes that create nothing permanent.
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
        except (SQLAlchemyError, UnavailableError) as error:
            log_failure(_log, f"writing the audit entry of request {scope['state']['request_id']}", error)


def _is_change(scope: Scope) -> bool:
    """Whether a client's request is a change, judged by its method and route."""
    return INTERNAL_CALLER not in scope and scope["method"] in _CHANGING and not _GENERATING.match(scope["path"])
