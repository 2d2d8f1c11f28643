"""Runs an ASGI application from a thread of this process: on a socket, or its lifespan alone."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from luthier.language import say
from luthier.server.http.connections import ACCEPT_BURST, BoundedConnection, raise_descriptor_limit
from luthier.types.errors import LuthierError

_POLL_S = 0.02
_SHUTDOWN_S = 5  # for open responses
# Longer than connection pools of clients and proxies keep an idle connection (aiohttp 15 s, nginx 60 s, Go 90 s), so
# that none of them sends a request on a connection that the server is about to close.
_KEEP_ALIVE_S = 180
_BACKLOG = 1024  # connections that the system holds until they are accepted


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 picks a free port. Raises LuthierError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named. Without it the second part of an answer waits until the
    # client acknowledges the first, 40 ms for each request on a connection that is used again.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise LuthierError(
            say(
                f"Cannot listen on {host} port {port}: {error.strerror}. Try --port 0.",
                f"无法监听 {host} 端口 {port}：{error.strerror}。可以试试 --port 0。",
            )
        ) from error
    return listener


@contextmanager
def serving(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    """Answer requests on `listener`, which is closed at the end. Raises LuthierError if the start fails."""
    raise_descriptor_limit()
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        backlog=ACCEPT_BURST,
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise LuthierError(say("The server exited during start-up; its log has the reason.",
                                       "服务器在启动过程中退出；原因见日志。"))  # fmt: skip
            thread.join(_POLL_S)
        listener.listen(_BACKLOG)  # the server has made it its accept burst
        yield
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def running_lifespan(app: FastAPI) -> Iterator[None]:
    """Run the application's lifespan on a separate event loop, only for requests from within the process."""
    started, stop, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()

    async def live() -> None:
        async with app.router.lifespan_context(app):
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()), name="luthier-application", daemon=True)
    thread.start()
    try:
        while not started.wait(_POLL_S):
            if not thread.is_alive():
                raise LuthierError(say("The application exited during start-up; the log has the reason.",
                                       "应用在启动过程中退出；原因见日志。"))  # fmt: skip
        yield
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
