"""`luthier.api_key`: keys that the server manages, and entries of its audit log."""

from typing import Annotated, Literal

from pydantic import Field

from luthier.types.common import Request, Response
from luthier.types.permissions import ProjectId
from luthier.types.projects import Role

_MAX_LIMIT, _MAX_BYTES, _MAX_LIFETIME_S = 10**9, 10**15, 10 * 365 * 24 * 3600
_Limit = Annotated[int, Field(ge=1, le=_MAX_LIMIT)]


class CreateKeyRequest(Request):
    """`project`: null for the whole organization. `expires_in_s`: at most ten years; null for a key that does not
    expire. `max_jobs`: limit of unfinished jobs at a time; `max_bytes`: limit of the total size of files that the key
    has uploaded; null: no limit.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    project: ProjectId | None = None
    role: Role = "member"
    expires_in_s: Annotated[int, Field(ge=60, le=_MAX_LIFETIME_S)] | None = None
    requests_per_minute: _Limit | None = None
    tokens_per_minute: _Limit | None = None
    max_jobs: _Limit | None = None
    max_bytes: Annotated[int, Field(ge=1, le=_MAX_BYTES)] | None = None


class ManagedKey(Response):
    """`hint`: the key's last characters. `status`: whether the key is currently accepted."""

    id: str
    object: Literal["luthier.api_key"] = "luthier.api_key"
    name: str
    hint: str
    project: str | None
    role: Role
    status: Literal["active", "expired", "revoked"]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_jobs: int | None
    max_bytes: int | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None


class ManagedKeyWithSecret(ManagedKey):
    """`value`: the key itself, in this response only."""

    value: str


class CreatedKey(ManagedKeyWithSecret):
    """`is_first`: whether this is the server's first managed key. A server without keys in its settings then stops
    accepting requests without a key."""

    is_first: bool


class RevokedKey(ManagedKey):
    """`is_last`: whether this was the server's last managed key. A server without keys in its settings that only its
    own machine can reach then accepts every request from there.
    """

    is_last: bool


class AuditLogEntry(Response):
    """`key_id`: null for a key of the server's settings, or none. `action`: method and route."""

    id: str
    object: Literal["luthier.audit_entry"] = "luthier.audit_entry"
    created_at: int
    key_id: str | None
    project: str | None
    client: str
    action: str
    path: str
    request_id: str
