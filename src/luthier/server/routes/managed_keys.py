"""`/v1/luthier/keys` and `/v1/luthier/audit`: the server's API keys, and who changed what. For admin keys."""

import logging
from dataclasses import asdict

from fastapi import APIRouter, Request

from luthier.server.http.auth import AdminDep
from luthier.server.http.json_body import StrictRoute
from luthier.server.http.key_ring import KeyRing
from luthier.server.http.pagination import Limit, list_page
from luthier.server.state import StateDep
from luthier.store import Page, StoredKey
from luthier.types.common import ListPage, now
from luthier.types.errors import BadRequestError
from luthier.types.managed_keys import (
    AuditLogEntry,
    CreatedKey,
    CreateKeyRequest,
    ManagedKey,
    ManagedKeyWithSecret,
    RevokedKey,
)

_log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/luthier", tags=["luthier"], route_class=StrictRoute)


@router.post("/keys")
def create(body: CreateKeyRequest, request: Request, state: StateDep, caller: AdminDep) -> CreatedKey:
    """An admin of a project can create keys only for that project."""
    keys, ring = state.app.store.api_keys, _ring(request)
    was_open, is_first = not ring.is_required(), not keys.has_any()
    project = body.project or caller.project
    if caller.project and project != caller.project:
        message = f"A key of the project {caller.project} can create keys only for that project."
        raise BadRequestError(message, param="project", code="invalid_value")
    key, secret = keys.create(
        body.name,
        project=project,
        role=body.role,
        expires_at=now() + body.expires_in_s if body.expires_in_s else None,
        requests_per_minute=body.requests_per_minute,
        tokens_per_minute=body.tokens_per_minute,
        max_jobs=body.max_jobs,
        max_bytes=body.max_bytes,
    )
    ring.forget()
    if was_open:
        _log.warning(
            "%s is the first key of this server: requests without a key get status 401 from now on. Give clients keys "
            "(luthier keys create), or revoke every key to open the server again",
            key.id,
        )
    return CreatedKey(**_fields(key), value=secret, is_first=is_first)


@router.get("/keys")
def list_keys(state: StateDep, caller: AdminDep, limit: Limit = 100, after: str | None = None) -> ListPage[ManagedKey]:
    """Newest first; revoked and expired ones included."""
    page = state.app.store.api_keys.list(limit=limit, after=after, project=caller.project)
    return list_page(Page([ManagedKey(**_fields(key)) for key in page.data], page.has_more))


@router.post("/keys/{key_id}/rotate")
def rotate(key_id: str, request: Request, state: StateDep, caller: AdminDep) -> ManagedKeyWithSecret:
    """Sets a new secret; the old one stops working immediately."""
    keys = state.app.store.api_keys
    key, secret = keys.rotate(keys.retrieve(key_id, project=caller.project).id)
    _ring(request).forget()
    return ManagedKeyWithSecret(**_fields(key), value=secret)


@router.delete("/keys/{key_id}")
def revoke(key_id: str, request: Request, state: StateDep, caller: AdminDep) -> RevokedKey:
    """The key stays in the list, with the time of its revocation."""
    keys, ring = state.app.store.api_keys, _ring(request)
    was_open = not ring.is_required()
    key = keys.revoke(keys.retrieve(key_id, project=caller.project).id)
    ring.forget()
    if not was_open and not ring.is_required():
        _log.warning(
            "%s was the last key of this server: every program of this machine may use it without a key from now on, "
            "as an admin. Create a key to close it (luthier keys create)",
            key.id,
        )
    return RevokedKey(**_fields(key), is_last=not keys.has_any())


@router.get("/audit")
def list_audit(
    state: StateDep, caller: AdminDep, limit: Limit = 100, after: str | None = None
) -> ListPage[AuditLogEntry]:
    """The entries of the caller's project, or of all projects for a key of the organization, newest first."""
    page = state.app.store.audit_log.list(limit=limit, after=after, project=caller.project)
    return list_page(Page([AuditLogEntry(**asdict(entry)) for entry in page.data], page.has_more))


def _ring(request: Request) -> KeyRing:
    ring: KeyRing = request.app.state.keys
    return ring


def _fields(key: StoredKey) -> dict[str, object]:
    status = "active" if key.is_valid else "revoked" if key.revoked_at else "expired"
    return {**asdict(key), "status": status}
