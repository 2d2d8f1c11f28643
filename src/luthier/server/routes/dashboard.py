"""`/` and `/dashboard/…`: the dashboard's files. They contain no data, so they need no key, unlike the data they
show."""

import hashlib
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from luthier.dashboard import assets
from luthier.types.errors import NotFoundError

router = APIRouter(include_in_schema=False)
PREFIX = "/dashboard/"
_HEADERS = {
    # Only own files: no inline scripts or styles, no other hosts, no framing.
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    return await asset("index.html", request)


@router.api_route(PREFIX + "{name:path}", methods=["GET", "HEAD"])
async def asset(name: str, request: Request) -> Response:
    """Raises NotFoundError for a name that is not a file of the dashboard."""
    path = assets().get(name)
    if path is None:
        raise NotFoundError(f"The dashboard has no file '{name[:100]}'.")
    content, etag = _read(path, path.stat().st_mtime_ns)
    headers = {**_HEADERS, "etag": etag}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    media_type = _MEDIA_TYPES.get(path.suffix, "text/plain") + "; charset=utf-8"
    return Response(content, headers=headers, media_type=media_type)


@lru_cache(maxsize=64)
def _read(path: Path, changed_ns: int) -> tuple[bytes, str]:
    """Content and ETag. A page is some thirty of these files, so they are kept in memory; `changed_ns`: until then."""
    content = path.read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
