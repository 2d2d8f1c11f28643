"""Clients that connect and send nothing, or a request bit by bit, hold up nobody else."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from fastapi import FastAPI, Request
from serving import until

from luthier.server.hosting import listen, serving
from luthier.server.http import connections

_MOST = 6
_PATIENCE_S = 120.0  # on a busy machine
_REQUEST = b"POST /echo HTTP/1.1\r\nhost: a\r\n"
_BEGINNINGS = [b"", _REQUEST, _REQUEST + b"content-length: 9\r\n\r\n{"]


_slow_started = threading.Event()


@pytest.fixture(name="port")
def _port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(connections, "max_connections", lambda: _MOST)
    app, listener = FastAPI(), listen("127.0.0.1", 0)

    @app.post("/echo")
    async def echo(request: Request) -> int:
        return len(await request.body())

    @app.get("/slow")
    async def slow() -> str:
        _slow_started.set()
        await asyncio.sleep(0.5)
        return "done"

    port: int = listener.getsockname()[1]
    with serving(app, listener):
        yield port


def _connect(port: int, beginning: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S)
    client.sendall(beginning)
    return client


def test_an_answer_in_two_parts_does_not_wait_for_the_client() -> None:
    """A connection without TCP_NODELAY holds back the second part until the first is acknowledged: 40 ms."""

    async def read_nodelay_option() -> int:
        option: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            option.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen("127.0.0.1", 0)
        async with await asyncio.start_server(answer, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await option

    assert asyncio.run(read_nodelay_option()) != 0


@pytest.mark.parametrize("beginning", _BEGINNINGS, ids=["nothing", "half of the headers", "half of the body"])
def test_silent_connections_make_room_for_a_new_one(port: int, beginning: bytes) -> None:
    silent = [_connect(port, beginning) for _ in range(5 * _MOST)]
    assert httpx.post(f"http://127.0.0.1:{port}/echo", content=b"abc", timeout=_PATIENCE_S).json() == 3
    for client in silent:
        client.close()


def test_a_connection_that_waits_for_its_answer_is_kept(port: int) -> None:
    waiting = _connect(port, b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    assert _slow_started.wait(_PATIENCE_S)
    silent = [_connect(port, b"") for _ in range(5 * _MOST)]
    assert waiting.recv(1000).startswith(b"HTTP/1.1 200")
    for client in [waiting, *silent]:
        client.close()


@pytest.mark.parametrize("beginning", _BEGINNINGS[:2], ids=["nothing", "half of the headers"])
def test_headers_that_take_too_long_end_the_connection(
    port: int, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(connections, "REQUEST_HEADERS_S", 0.1)
    with suppress(ConnectionError):  # it may be closed before the beginning is sent
        assert _connect(port, beginning).recv(100) == b""


def test_a_slow_body_is_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines: list[asyncio.TimerHandle | None] = []
    stop_deadline = connections.BoundedConnection._stop_deadline

    def stop(connection: connections.BoundedConnection) -> None:
        deadlines.append(connection._deadline)
        stop_deadline(connection)

    monkeypatch.setattr(connections.BoundedConnection, "_stop_deadline", stop)
    client = _connect(port, _REQUEST + b"connection: close\r\ncontent-length: 3\r\n\r\na")
    until(lambda: deadlines)
    assert deadlines[0] is not None
    assert deadlines[0].cancelled()
    client.sendall(b"bc")
    with client.makefile("rb") as response:
        assert response.read().endswith(b"3")
    client.close()
