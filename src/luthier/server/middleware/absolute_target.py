"""Request targets in absolute form, `GET http://host/path`, which clients of a forward proxy send (RFC 9112, 3.2.2).

Every other part of the server sees the target's path, and its authority as the header Host: checks of the host apply
to it. A target with user information or of another scheme is left alone, and no route has it.
"""

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

_ABSOLUTE = re.compile(rb"https?://([\w.:\[\]-]+)(/[!-~]*)?", re.IGNORECASE)


class AbsoluteTarget:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = scope.get("raw_path") or b""
        if target[:1] != b"/" and (absolute := _ABSOLUTE.fullmatch(target)):
            path = absolute[2] or b"/"
            headers = [header for header in scope["headers"] if header[0] != b"host"]
            scope = {
                **scope,
                "path": unquote(path.decode("ascii")),
                "raw_path": path,
                "headers": [(b"host", absolute[1]), *headers],
            }
        await self._app(scope, receive, send)
