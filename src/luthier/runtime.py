"""A server inside this process, or the one that already runs on the same data folder.

One server owns a data folder at a time: it holds a lock there and leaves its address beside it, readable by its
owner only, for commands to find.
"""

import json
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import uvicorn
from filelock import FileLock, Timeout
from pydantic import SecretStr

from luthier.catalogue import Catalogue
from luthier.language import say
from luthier.server import create_app
from luthier.settings import Settings
from luthier.store import Store
from luthier.types.errors import BaseModelError, LuthierError
from luthier.worker import Worker

_ADDRESS = "server.json"


@dataclass(frozen=True)
class Endpoint:
    """`embedded`: whether the server ends with this process."""

    base_url: str
    api_key: str
    embedded: bool


class LuthierServer:
    """A server and a worker on `settings.data`, from `with` to the end of it."""

    def __init__(self, settings: Settings, *, report: Callable[[str], None] | None = None) -> None:
        """With `report`, the base model is made ready before requests are answered, and `report` hears of it."""
        self._settings, self._report = settings, report
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(settings.data / "server.lock")

    def __enter__(self) -> "LuthierServer":
        """Returns when requests are answered. Raises LuthierError when the folder or the port is taken."""
        settings = self._settings
        if not settings.is_loopback() and not settings.api_keys:
            raise LuthierError(
                say(
                    f"{settings.host} can be reached from other machines, and no keys are set. "
                    "Set LUTHIER_API_KEYS to one or more keys, or listen on 127.0.0.1.",
                    f"{settings.host} 可以从其他机器访问，但没有设置密钥。请设置 LUTHIER_API_KEYS，或监听 127.0.0.1。",
                )
            )
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise LuthierError(
                say(
                    f"A server already runs on {settings.data}. Use it, or give this one another --data.",
                    f"{settings.data} 上已有服务器在运行。请直接使用它，或用 --data 指定别的文件夹。",
                )
            ) from error
        try:
            self._start()
        except BaseException:
            self._lock.release()
            raise
        return self

    def _start(self) -> None:
        settings = self._settings
        listener = self._listen()
        self._store = Store(settings.data)
        self._store.jobs.forget_workers()
        self._store.batches.forget_runners()
        self._store.evaluations.start_over()
        catalogue = Catalogue(settings.cache, self._store.models_folder)
        if self._report:
            self._prepare_base(catalogue, self._report)
        app = create_app(settings, self._store, catalogue)
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise LuthierError("The server ended while starting; its log says why.")
            self._thread.join(0.02)
        self._worker = Worker(settings, self._store, catalogue, app.state.luthier.engines)
        self._worker.start()
        keys = settings.keys()  # commands on this machine see everything, where a key does
        key = next((key for key, project in keys.items() if project is None), next(iter(keys), "luthier"))
        port = listener.getsockname()[1]
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
        self.endpoint = Endpoint(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1", key, True)
        self._leave_address()

    def _listen(self) -> socket.socket:
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            listener.close()
            raise LuthierError(
                say(
                    f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. Try --port 0.",
                    f"无法监听 {settings.host} 端口 {settings.port}：{error.strerror}。可以试试 --port 0。",
                )
            ) from error
        return listener

    def _prepare_base(self, catalogue: Catalogue, report: Callable[[str], None]) -> None:
        """So that the first request does not wait for a download. A server without it still serves what it can."""
        base = self._settings.base
        try:
            if not catalogue.ready(base):
                catalogue.folder(base, report)
        except BaseModelError as error:
            report(say("The base model is not ready:", "基座模型尚未就绪：") + f" {error}")

    def _leave_address(self) -> None:
        path = self._settings.data / _ADDRESS
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps({"base_url": self.endpoint.base_url, "api_key": self.endpoint.api_key}))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """The running job saves its state; answers under way are ended."""
        (self._settings.data / _ADDRESS).unlink(missing_ok=True)
        self._worker.stop()
        self._server.should_exit = True
        self._thread.join()
        self._store.close()
        self._lock.release()


@contextmanager
def running_or_embedded(data: Path | None) -> Iterator[Endpoint]:
    """The server that runs on the data folder, or one in this process, on a free port with a key of its own.

    A base model that is not here yet is fetched by the job or the chat that needs it, not before.
    """
    settings = Settings(host="127.0.0.1", port=0, api_keys=[SecretStr(secrets.token_urlsafe(24))])
    if data is not None:
        settings.data = data.expanduser().absolute()
    found = _address(settings.data)
    if found:
        yield found
        return
    with LuthierServer(settings) as running:
        yield running.endpoint


def _address(data: Path) -> Endpoint | None:
    """Where the server on `data` listens; None when no server holds the folder."""
    path = data / _ADDRESS
    if not path.exists():
        return None
    lock = FileLock(data / "server.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        found = json.loads(path.read_text())
        return Endpoint(found["base_url"], found["api_key"], embedded=False)
    lock.release()  # the address was left behind by a server that died
    return None
