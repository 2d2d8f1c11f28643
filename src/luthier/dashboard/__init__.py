"""The dashboard: static files that a browser runs as a client of the public API, with the person's own key.

ES modules without a build step. Knows nothing about the server; `assets` is all that Python needs of it.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

_STATIC = Path(__file__).parent / "static"


@cache
def assets() -> Mapping[str, Path]:
    """Every file by its name under `static/`, with `/` between folders. Requests are looked up here, never joined."""
    paths = sorted(path for path in _STATIC.rglob("*.*") if path.suffix != ".ts")  # types are for who checks them
    return {path.relative_to(_STATIC).as_posix(): path for path in paths}
