"""PostgreSQL: one database for servers and workers on any number of machines.

A write transaction takes one advisory lock at its start, so that writes happen one at a time, as on SQLite: data that a
block has read stays valid until its commit, and `seq` is the order of commits. Writes to a single row, which the row
lock orders (`exclusive=False`), run concurrently. The database ends a session that is idle in a transaction, such as
that of a machine that was cut off, and releases its locks.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Float,
    cast,
    create_engine,
    event,
    extract,
    func,
    make_url,
)
from sqlalchemy.exc import ArgumentError

from luthier.language import say
from luthier.store.json_text import storable, to_json
from luthier.types.errors import LuthierError

_WRITE_LOCK = int.from_bytes(b"luthier")
_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
APPLICATION_NAME = "luthier"  # of the sessions of servers and workers
_POOL_TIMEOUT_S = 15
_SLOW_S = 1.0  # a database that can be reached refuses a connection sooner
# A host that vanishes says nothing: attempts to connect end, and so do connections that it holds open.
_CONNECTION = {
    "application_name": APPLICATION_NAME,
    "connect_timeout": 10,
    "tcp_user_timeout": 15_000,  # milliseconds
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
_SESSION = {
    "statement_timeout": "120s",
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class PostgresBackend:
    is_shared = True
    read_options: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

    def __init__(self, url: str) -> None:
        """Raises LuthierError for a URL that is not one of PostgreSQL, and if the driver is not installed."""
        self._url = _parse_url(url)
        self.name = self._url.set(drivername="postgresql", password=None).render_as_string()
        _require_driver()

    def create_engine(self) -> Engine:
        options = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
        engine = create_engine(
            self._url,
            connect_args={"options": options, **_CONNECTION},
            json_serializer=to_json,
            pool_size=8,
            max_overflow=32,
            pool_timeout=_POOL_TIMEOUT_S,
            pool_pre_ping=True,  # connections end when the database restarts
        )
        event.listen(engine, "do_connect", Connector())
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        return engine

    def current_time(self) -> ColumnElement[float]:
        """The time by the database's clock, since the clocks of the machines may differ."""
        return cast(extract("epoch", func.clock_timestamp()), Float)

    def opening_error(self, error: BaseException | None) -> LuthierError:
        reason = next(iter(str(error).strip().splitlines()), "")
        return LuthierError(say(f"{self.name} cannot be used: {reason}", f"无法使用 {self.name}：{reason}"))

    def allow_long_statements(self, connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")

    def integrity_errors(self, engine: Engine) -> list[str]:
        """Empty: PostgreSQL checks its pages itself if data checksums are enabled."""
        return []

    def opened(self) -> None:
        pass

    def tidy(self, engine: Engine) -> None:
        pass


class Connector:
    """Connects an engine. After an attempt that took long to fail, one thread at a time tries again.

    The others fail at once. Otherwise each request would hold one of the server's threads for the whole timeout, and
    requests that need no database would wait for a thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._attempt = clock, threading.Lock()
        self._failure: str | None = None

    def __call__(self, dialect: Any, _record: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        if self._failure is None:
            return self._connect(dialect, arguments, options)
        if not self._attempt.acquire(blocking=False):
            raise dialect.loaded_dbapi.OperationalError(self._failure)
        try:
            return self._connect(dialect, arguments, options)
        finally:
            self._attempt.release()

    def _connect(self, dialect: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        started_s = self._clock()
        try:
            connection = dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.Error as error:
            self._failure = str(error) if self._clock() - started_s > _SLOW_S else None
            raise
        self._failure = None
        return connection


def _parse_url(text: str) -> URL:
    try:
        url = make_url(text)
    except ArgumentError:
        url = None
    if url is None or url.drivername not in _SCHEMES or not url.database:
        raise LuthierError(
            say(
                "The setting `store` is not a PostgreSQL URL such as postgresql://USER:PASSWORD@HOST:5432/DATABASE. "
                "Without the setting, SQLite in the data folder is used.",
                "设置 store 不是 PostgreSQL 的 URL。格式为 postgresql://用户:密码@主机:5432/数据库；"
                "不设置时使用数据文件夹中的 SQLite。",
            )
        )
    return url.set(drivername="postgresql+psycopg")


def _require_driver() -> None:
    try:
        import psycopg  # noqa: F401 - the extra `postgres`
    except ImportError as error:
        raise LuthierError(
            say(
                "PostgreSQL needs the package psycopg: pip install 'luthier[postgres]'",
                "使用 PostgreSQL 需要 psycopg：pip install 'luthier[postgres]'",
            )
        ) from error


def _configure(connection: Any, _record: Any) -> None:
    """Remove characters that PostgreSQL cannot store from texts, in values and in conditions."""
    from psycopg.types.string import StrDumper

    class StorableTextDumper(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(storable(obj))

    connection.adapters.register_dumper(str, StorableTextDumper)


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("write") == "exclusive":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
