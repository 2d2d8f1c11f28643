"""Authentication: the API key of a request, the key's project, and the project that the request names."""

import hmac
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers

from luthier.types.errors import AuthenticationError
from luthier.types.projects import PROJECT_ID, Caller

# ASGI scope key that holds the caller of an internal request; no request from a network can set it.
INTERNAL_CALLER = "luthier.caller"


def authenticate(headers: Headers, keys: Mapping[str, str | None]) -> Caller:
    """The caller of a request, by its bearer key.

    Args:
        keys: Every key with its project; None for a key of the whole organization. Without any keys, every caller
            is the organization.

    Raises:
        AuthenticationError: In OpenAI's words.
    """
    key_project = _project_of_key(headers, keys) if keys else None
    header_project = headers.get("openai-project") or None
    if header_project and not PROJECT_ID.fullmatch(header_project):
        raise AuthenticationError(f"No such project: {header_project[:100]}", code="invalid_project")
    if key_project and header_project and header_project != key_project:
        raise AuthenticationError("OpenAI-Project header should match project for API key", code="mismatched_project")
    return Caller(project=key_project or header_project, admin=key_project is None)


def _project_of_key(headers: Headers, keys: Mapping[str, str | None]) -> str | None:
    scheme, _, sent_key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not sent_key:
        raise AuthenticationError(
            "You didn't provide an API key. You need to provide your API key in an Authorization header using "
            "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
    # Compares every key in constant time, so that the duration of a request reveals nothing.
    matches = [key for key in keys if hmac.compare_digest(sent_key.encode("latin-1"), key.encode())]
    if not matches:
        redacted = sent_key[:3] + "****" + sent_key[-4:] if len(sent_key) > 12 else "****"
        raise AuthenticationError(
            f"Incorrect API key provided: {redacted}. The keys of this server are set where it is started "
            "(--api-keys or LUTHIER_API_KEYS).",
            code="invalid_api_key",
        )
    return keys[matches[0]]


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
