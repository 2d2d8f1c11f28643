"""`/` and `/dashboard/…`: the dashboard's files. They hold no data, so they need no key; what they show does."""

from fastapi import APIRouter
from fastapi.responses import FileResponse

from luthier.dashboard import assets
from luthier.types.errors import NotFoundError

router = APIRouter(include_in_schema=False)
PREFIX = "/dashboard/"
_HEADERS = {
    # Own files only: no inline script or style, no other host, no frame around it.
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@router.api_route("/", methods=["GET", "HEAD"])
def index() -> FileResponse:
    return asset("index.html")


@router.api_route(PREFIX + "{name:path}", methods=["GET", "HEAD"])
def asset(name: str) -> FileResponse:
    """Raises NotFoundError for a name that is no file of the dashboard."""
    path = assets().get(name)
    if path is None:
        raise NotFoundError(f"The dashboard has no file '{name[:100]}'.")
    media_type = _MEDIA_TYPES.get(path.suffix, "text/plain") + "; charset=utf-8"
    return FileResponse(path, headers=_HEADERS, media_type=media_type)
