"""Authentication: the API key of a request, the key's project, and the project that the request names."""

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers

from luthier.server.http.key_ring import KeyRing
from luthier.types.errors import AuthenticationError, PermissionDeniedError
from luthier.types.projects import PROJECT_ID, Caller

# ASGI scope key that holds the caller of an internal request; no request from a network can set it.
INTERNAL_CALLER = "luthier.caller"


async def authenticate(headers: Headers, keys: KeyRing) -> Caller:
    """The caller of a request, from its bearer key; if no key is required, every caller is the organization.

    Raises:
        AuthenticationError: In OpenAI's words.
    """
    scheme, _, sent_key = headers.get("authorization", "").partition(" ")
    secret = sent_key if scheme.lower() == "bearer" else ""
    check = await keys.check(secret)
    caller = _require_caller(check.caller, secret) if check.is_required else Caller()
    header_project = headers.get("openai-project") or None
    if header_project and not PROJECT_ID.fullmatch(header_project):
        raise AuthenticationError(f"No such project: {header_project[:100]}", code="invalid_project")
    if caller.project and header_project and header_project != caller.project:
        raise AuthenticationError("OpenAI-Project header should match project for API key", code="mismatched_project")
    return replace(caller, project=caller.project or header_project)


def _require_caller(caller: Caller | None, secret: str) -> Caller:
    """Raises AuthenticationError for a missing key, and for one that nobody may send."""
    if not secret:
        raise AuthenticationError(
            "You didn't provide an API key. You need to provide your API key in an Authorization header using "
            "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
    if caller is None:
        redacted = secret[:3] + "****" + secret[-4:] if len(secret) > 12 else "****"
        raise AuthenticationError(
            f"Incorrect API key provided: {redacted}. The keys of this server are set when it is started "
            "(--api-keys or LUTHIER_API_KEYS), or created with `luthier keys create`.",
            code="invalid_api_key",
        )
    return caller


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]


def require_priority(caller: Caller, priority: int, param: str) -> None:
    """Raises PermissionDeniedError for a priority that takes precedence over other projects' jobs, except with an
    admin key."""
    if priority > 0 and not caller.admin:
        message = "A priority above 0 puts a job before those of other projects and requires an admin API key."
        raise PermissionDeniedError(message, param=param, code="insufficient_permissions")


def _admin(caller: CallerDep) -> Caller:
    if not caller.admin:
        raise PermissionDeniedError(
            "You have insufficient permissions for this operation. It requires an admin API key: on this server, one "
            "that is bound to no project, or a managed key with the role admin.",
            code="insufficient_permissions",
        )
    return caller


AdminDep = Annotated[Caller, Depends(_admin)]
