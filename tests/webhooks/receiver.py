"""A receiver of webhooks on loopback, which answers as a test says and keeps what it got."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openai import OpenAI

Delivery = tuple[dict[str, str], bytes]


class Receiver:
    """`answers`: the status codes of the next requests, and 204 after them; a float is a pause in seconds."""

    start: Callable[[], None]

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.answers: list[int | float] = []
        self.url = ""

    def events(self, secret: str) -> list[tuple[str, str]]:
        """(type, id of the subject) of each delivery, as OpenAI's client verifies and reads it."""
        client = OpenAI(api_key="none", webhook_secret=secret)
        events: list[Any] = [client.webhooks.unwrap(body, headers) for headers, body in self.deliveries]
        return [(event.type, event.data.id) for event in events]


@contextmanager
def receiving(*, is_down: bool = False) -> Iterator[Receiver]:
    """With `is_down` the port is taken, and refuses connections until `start`."""
    receiver, released = Receiver(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.deliveries.append((dict(self.headers), body))
            answer = receiver.answers.pop(0) if receiver.answers else 204
            if isinstance(answer, float):
                released.wait(answer)
                answer = 204
            self.send_response(answer)
            self.send_header("location", "http://169.254.169.254/")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.daemon_threads = True
    server.server_bind()
    receiver.url = f"http://localhost:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def start() -> None:
        server.server_activate()
        thread.start()

    receiver.start = start
    if not is_down:
        start()
    try:
        yield receiver
    finally:
        released.set()
        if thread.is_alive():
            server.shutdown()
            thread.join()
        server.server_close()
