"""Who asks: a key, its project, and the project that a request names. Knows nothing about what is asked."""

import hmac
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers

from luthier.types.errors import AuthenticationError
from luthier.types.projects import PROJECT_ID, Caller

# Where a request of the application to itself says whose it is; nothing that comes over a network has such a key.
INSIDE = "luthier.caller"


def caller_of(headers: Headers, keys: Mapping[str, str | None]) -> Caller:
    """By its key, among `keys` with the project of each; None: a key of the whole organization, as everybody is where
    there are no keys. Raises AuthenticationError in OpenAI's words.
    """
    bound = _project_of_key(headers, keys) if keys else None
    named = headers.get("openai-project") or None
    if named and not PROJECT_ID.fullmatch(named):
        raise AuthenticationError(f"No such project: {named[:100]}", code="invalid_project")
    if bound and named and named != bound:
        raise AuthenticationError("OpenAI-Project header should match project for API key", code="mismatched_project")
    return Caller(project=bound or named, admin=bound is None)


def _project_of_key(headers: Headers, keys: Mapping[str, str | None]) -> str | None:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given:
        raise AuthenticationError(
            "You didn't provide an API key. You need to provide your API key in an Authorization header using "
            "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
    # Every key is compared, in the same time: how long it takes says nothing.
    matching = [key for key in keys if hmac.compare_digest(given.encode("latin-1"), key.encode())]
    if not matching:
        shown = given[:3] + "****" + given[-4:] if len(given) > 12 else "****"
        raise AuthenticationError(
            f"Incorrect API key provided: {shown}. The keys of this server are set where it is started "
            "(--api-keys or LUTHIER_API_KEYS).",
            code="invalid_api_key",
        )
    return keys[matching[0]]


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerOf = Annotated[Caller, Depends(_caller)]
