"""A proxy between a suite and the server: requests and answers pass through the mapping."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from conformance.mapping import Mapping
from conformance.seeds import Seeds
from server.serving import serving

_OWN = ("host", "content-length", "connection", "transfer-encoding", "accept-encoding")  # each connection's own headers


@contextmanager
def mapped(url: str, seeds: Seeds, mapping: Mapping) -> Iterator[str]:
    """The address to give to a suite; `url` is the real server's."""
    with httpx.Client(base_url=url, timeout=60) as server:

        def answer(method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Response:
            sent, name, path = path, f"{method} {path}", mapping.path(method, path)
            if body and headers.get("content-type") == "application/json":
                body = json.dumps(mapping.values(name, json.loads(body))).encode()
            request = {"params": mapping.values(name, query), "headers": headers, "content": body}
            response = server.request(method, path, **request)
            seeds.after(response)
            headers_out = {key: value for key, value in response.headers.items() if key not in _OWN}
            return Response(mapping.answer(method, sent, response.content), response.status_code, headers_out)

        async def route(request: Request) -> Response:
            path = request.url.path.removeprefix("/v1")
            headers = {key: value for key, value in request.headers.items() if key not in _OWN}
            parameters = (request.method, path, dict(request.query_params), headers, await request.body())
            return await run_in_threadpool(answer, *parameters)

        app = Starlette(routes=[Route("/v1/{path:path}", route, methods=["GET", "POST", "DELETE"])])
        with serving(app) as address:
            yield f"{address}/v1"
