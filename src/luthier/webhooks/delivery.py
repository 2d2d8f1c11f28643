"""One attempt to deliver a message, within `TIMEOUT_S`.

The connection goes to an address that was checked, whatever the name resolves to a moment later. Proxies of the
environment are not used, and redirects are not followed: both would lead to addresses that nobody has checked.
"""

import asyncio
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import httpx

from luthier.types.allowed_hosts import Address, AllowedHosts
from luthier.webhooks.signature import signed_headers
from luthier.webhooks.target import TargetError, resolve

TIMEOUT_S = 10.0  # from the resolution of the name to the status line
_HEADERS = {"content-type": "application/json", "user-agent": "Luthier-Webhooks"}


class DeliveryError(Exception):
    """No response came; the message says why, in words that the owner of the endpoint may read."""


async def deliver(
    url: str, message_id: str, body: Mapping[str, Any], secrets: Sequence[str], allowed: AllowedHosts
) -> int:
    """Posts the signed body; the status code of the response, whose body is not read. Raises DeliveryError."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {**_HEADERS, **signed_headers(message_id, int(time.time()), content, secrets)}
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _post(httpx.URL(url), headers, content, allowed)
    except TimeoutError:
        raise DeliveryError(f"No response within {TIMEOUT_S:g} seconds.") from None
    except TargetError as error:
        raise DeliveryError(str(error)) from error
    except (httpx.HTTPError, OSError) as error:
        raise DeliveryError(f"{type(error).__name__}: {error}") from error


async def _post(url: httpx.URL, headers: dict[str, str], content: bytes, allowed: AllowedHosts) -> int:
    """Tries the addresses of the host in turn, until one accepts the connection."""
    addresses = await resolve(url, allowed)
    for address in addresses[:-1]:
        try:
            return await _post_to(address, url, headers, content)
        except httpx.ConnectError:
            continue
    return await _post_to(addresses[-1], url, headers, content)


async def _post_to(address: Address, url: httpx.URL, headers: dict[str, str], content: bytes) -> int:
    """The host's name stays in the header `Host` and in TLS, where the certificate must be for it."""
    is_tls = url.scheme == "https"
    async with httpx.AsyncClient(
        verify=_tls_context() if is_tls else False, trust_env=False, timeout=TIMEOUT_S
    ) as client:
        request = client.build_request(
            "POST",
            url.copy_with(host=str(address)),
            headers={**headers, "host": url.netloc.decode()},
            content=content,
            extensions={"sni_hostname": url.host} if is_tls else {},
        )
        response = await client.send(request, stream=True, follow_redirects=False)
        await response.aclose()
        return response.status_code


@cache
def _tls_context() -> ssl.SSLContext:
    """Reading the certificates takes a while."""
    return ssl.create_default_context()
