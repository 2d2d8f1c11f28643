"""Where a webhook may go: the host of its URL is one that the operator allows, and so is the address it is at now."""

import asyncio
import ipaddress
import socket

import httpx

from luthier.types.allowed_hosts import Address, AllowedHosts
from luthier.types.errors import BadRequestError

_PORTS = {"http": 80, "https": 443}


class TargetError(Exception):
    """A request to this target is not sent; the message says why."""


def check_url(url: str, allowed: AllowedHosts) -> None:
    """Raises BadRequestError for a URL that no webhook may be sent to."""
    parsed = _parsed(url)
    if parsed is None:
        message = "Invalid URL: it must begin with https:// or http:// and a host, without user, password and fragment."
        raise BadRequestError(message, param="url", code="invalid_url")
    if not allowed.allows_host(parsed.host):
        raise BadRequestError(_not_allowed(parsed.host), param="url", code="host_not_allowed")


def _parsed(url: str) -> httpx.URL | None:
    """None for a URL without the parts that a target has."""
    try:
        parsed = httpx.URL(url)
        host = parsed.host  # decoded here, which fails for a faulty international name
    except (httpx.InvalidURL, ValueError):
        return None
    has_port = parsed.port is None or 0 < parsed.port < 2**16
    is_complete = parsed.scheme in _PORTS and host and has_port
    return parsed if is_complete and not parsed.userinfo and not parsed.fragment else None


async def resolve(url: httpx.URL, allowed: AllowedHosts) -> list[Address]:
    """The addresses of the URL's host. Raises TargetError when one of them, or the host, is not allowed."""
    if not allowed.allows_host(url.host):
        raise TargetError(_not_allowed(url.host))
    port = url.port or _PORTS[url.scheme]
    loop = asyncio.get_running_loop()
    try:
        entries = await loop.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise TargetError(f"The host '{url.host}' cannot be resolved: {error}.") from error
    addresses = list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in entries))
    for address in addresses:
        if not allowed.allows_address(url.host, address):
            raise TargetError(
                f"'{url.host}' is at {address}, which is not a public address. Where that is meant, add the address "
                "or its network to --webhook-hosts."
            )
    return addresses


def _not_allowed(host: str) -> str:
    return (
        f"This server sends no webhooks to '{host}'. Its operator allows hosts with --webhook-hosts "
        "(LUTHIER_WEBHOOK_HOSTS)."
    )
