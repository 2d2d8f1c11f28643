"""The whole put together: a server with its worker, a worker alone, or the server that a command talks to.

One server owns a data folder at a time: it holds a lock there and leaves its address beside it, readable by its
owner only, for commands to find. Any number of workers may share the folder. With a database that the setting `store`
names, any number of servers may, too.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from fastapi import FastAPI
from filelock import FileLock, Timeout
from pydantic import SecretStr

from luthier.catalogue import Catalogue
from luthier.language import say
from luthier.server import create_app
from luthier.server.hosting import listen, running_lifespan, serving
from luthier.settings import Settings
from luthier.store import Store
from luthier.types.errors import BaseModelError, LuthierError
from luthier.worker import Worker, WorkerContext, require_launcher

_ADDRESS, _LOCK = "server.json", "server.lock"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Endpoint:
    """`embedded`: the server ends with this process."""

    base_url: str
    api_key: str
    embedded: bool


@dataclass(frozen=True)
class Installation:
    """The store, the catalogue and the application on a data folder."""

    settings: Settings
    store: Store
    catalogue: Catalogue
    app: FastAPI

    @classmethod
    def open(cls, settings: Settings, local_key: str | None = None) -> "Installation":
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        store = Store.open(settings)
        catalogue = Catalogue(settings.cache, store.models_folder)
        app = create_app(settings, store, catalogue, local_key)
        if settings.recording:
            from luthier.migrate.overview import recording_overview  # few servers have one

            app.state.luthier.read_recording = partial(recording_overview, settings.recording)
        return cls(settings, store, catalogue, app)

    def worker(self) -> Worker:
        """A worker that sends requests through this application, whose lifespan must have started.

        Raises LuthierError where trainers could not be started as the settings say.
        """
        require_launcher(self.settings)
        engines, loopback = self.app.state.luthier.engines, self.app.state.loopback
        return Worker(WorkerContext(self.settings, self.store, self.catalogue, engines, loopback))


class LuthierServer:
    """A server on `settings.data`, with its worker unless the settings turn it off, while entered."""

    def __init__(self, settings: Settings, *, report: Report | None = None) -> None:
        """With `report`, the base model is made ready before requests are answered; progress goes to `report`."""
        self._settings, self._report = settings, report
        self.data, self.base = settings.data, settings.base
        self._exit = ExitStack()

    def __enter__(self) -> "LuthierServer":
        """Returns when requests are answered. Raises LuthierError when the folder or the port is in use."""
        # For commands on this machine, as long as the server runs: the address file holds no key of the operator's.
        settings, local_key = self._settings, secrets.token_urlsafe(24)
        with ExitStack() as stack:
            stack.enter_context(server_lock(settings))
            self._installation = Installation.open(settings, local_key)
            stack.callback(self._installation.store.close)
            require_keys(settings, self._installation.store)
            listener = listen(settings.host, settings.port)
            stack.callback(listener.close)
            if self._report:
                _prepare_base(settings.base, self._installation.catalogue, self._report)
            stack.enter_context(serving(self._installation.app, listener))
            if settings.worker:
                self._worker = self._installation.worker()
                self._worker.start()
                stack.callback(lambda: self._worker.stop())
            self.endpoint = _endpoint(settings, listener.getsockname()[1], local_key)
            if not settings.store_url():  # other machines may share the folder; they cannot reach this address
                stack.enter_context(_published_address(settings.data, self.endpoint))
            self._exit = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """The running job saves its state; open responses are ended."""
        self._exit.close()


class LuthierWorker:
    """A worker alone on `settings.data`, while entered, whether or not a server runs there."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.data, self._exit = settings, settings.data, ExitStack()

    def __enter__(self) -> "LuthierWorker":
        with ExitStack() as stack:
            installation = Installation.open(self._settings)
            stack.callback(installation.store.close)
            stack.enter_context(running_lifespan(installation.app))
            worker = installation.worker()
            worker.start()
            stack.callback(worker.stop)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """The running job saves its state and returns to the queue."""
        self._exit.close()


@contextmanager
def server_lock(settings: Settings) -> Iterator[None]:
    """Raises LuthierError when a server runs on the data folder and its database is in there."""
    if settings.store_url():  # any number of servers share it
        yield
        return
    data = settings.data
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(data / _LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LuthierError(
            say(
                f"A server is already running on {data}. Use it, or start this one with another --data.",
                f"{data} 上已有服务器在运行。请直接使用它，或用 --data 指定别的文件夹。",
            )
        ) from error
    try:
        yield
    finally:
        lock.release()


def require_keys(settings: Settings, store: Store) -> None:
    """Raises LuthierError for a server that other machines could use without a key."""
    if settings.is_loopback() or settings.api_keys or store.api_keys.has_any():
        return
    raise LuthierError(
        say(
            f"{settings.host} can be reached from other machines, and no keys are set. "
            "Set LUTHIER_API_KEYS to one or more keys, create one with `luthier keys create`, or listen on 127.0.0.1.",
            f"{settings.host} 可以从其他机器访问，但没有设置密钥。请设置 LUTHIER_API_KEYS，"
            "用 luthier keys create 创建密钥，或监听 127.0.0.1。",
        )
    )


@contextmanager
def running_or_embedded(data: Path | None) -> Iterator[Endpoint]:
    """The server that runs on the data folder, or one in this process, on a free port with a key of its own.

    A base model that is not available yet is downloaded by the job or the chat that needs it, not before.

    Raises LuthierError where the settings name a database that servers share: one of those is meant.
    """
    settings = Settings(host="127.0.0.1", port=0, api_keys=[SecretStr(secrets.token_urlsafe(24))], worker=True)
    if data is not None:
        settings.data = data.expanduser().absolute()
    if settings.store_url():
        raise LuthierError(
            say(
                "The setting `store` is a database that servers share. Choose one of the servers with --base-url or "
                "OPENAI_BASE_URL.",
                "store 设置的是多个服务器共用的数据库。请用 --base-url 或 OPENAI_BASE_URL 指定其中一个服务器。",
            )
        )
    endpoint = _running_endpoint(settings.data)
    if endpoint:
        yield endpoint
        return
    with LuthierServer(settings) as server:
        yield server.endpoint


def _prepare_base(base: str, catalogue: Catalogue, report: Report) -> None:
    """Downloads the base model before the first request. A server without it still serves other models."""
    try:
        if not catalogue.ready(base):
            catalogue.folder(base, report)
    except BaseModelError as error:
        report(say("The base model is not ready:", "基座模型尚未就绪：") + f" {error}")


def _endpoint(settings: Settings, port: int, key: str) -> Endpoint:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
    return Endpoint(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1", key, True)


@contextmanager
def _published_address(data: Path, endpoint: Endpoint) -> Iterator[None]:
    """Leaves the address file in the data folder meanwhile."""
    path = data / _ADDRESS
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps({"base_url": endpoint.base_url, "api_key": endpoint.api_key}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _running_endpoint(data: Path) -> Endpoint | None:
    """The endpoint of the server on `data`; None when no server holds the folder."""
    path = data / _ADDRESS
    if not path.exists():
        return None
    lock = FileLock(data / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        address = json.loads(path.read_text())
        return Endpoint(address["base_url"], address["api_key"], embedded=False)
    lock.release()  # the address was left behind by a server that died
    return None
