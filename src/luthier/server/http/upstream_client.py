"""The HTTP client of the upstream service; address and key are the operator's settings, never part of a request."""

import httpx

from luthier.settings import Settings

_TIMEOUT_S, _CONNECT_TIMEOUT_S = 600, 10


def create_upstream_client(settings: Settings) -> httpx.AsyncClient | None:
    """None when no upstream service is configured."""
    if not settings.upstream_base_url:
        return None
    key = settings.upstream_api_key
    headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    timeout = httpx.Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    return httpx.AsyncClient(base_url=settings.upstream_base_url, headers=headers, timeout=timeout)
