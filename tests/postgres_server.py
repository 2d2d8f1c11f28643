"""A PostgreSQL of the tests' own, in a temporary folder and on a free port, with as many databases as they want."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path

import pytest

_USER = "postgres"  # of the system: PostgreSQL does not run as root


class PostgresServer:
    """Starts when it is entered. Raises FileNotFoundError on a machine without PostgreSQL's programs."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._programs, self._host = _programs(), host
        self._databases = 0

    def __enter__(self) -> "PostgresServer":
        self._folder = Path(tempfile.mkdtemp(prefix="luthier-postgres-"))
        if os.geteuid() == 0:
            shutil.chown(self._folder, _USER)
        with socket.socket() as probe:
            probe.bind((self._host, 0))
            self.port: int = probe.getsockname()[1]
        self._run(
            "initdb", "-D", self._data, "-U", "luthier", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
        )
        with Path(self._data, "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write("host all all samenet trust\n")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Without fsync: the machine of a test does not lose power."""
        options = f"-c listen_addresses={self._host} -c port={self.port} -c unix_socket_directories={self._folder}"
        self._run(
            "pg_ctl", "-D", self._data, "-w", "-l", f"{self._folder}/log", "-o", f"{options} -c fsync=off", "start"
        )

    def stop(self, *, at_once: bool = False) -> None:
        """Ends all sessions. `at_once`: without a checkpoint, as a crash does; the next start recovers from the log."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate" if at_once else "fast", "stop")

    def new_database(self, *clauses: str) -> str:
        """The URL of a new, empty database. `clauses`: of CREATE DATABASE."""
        import psycopg

        self._databases += 1
        name = f"luthier_{self._databases}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(" ".join((f"CREATE DATABASE {name}", *clauses)).encode())
        return self._url(name)

    @cached_property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _url(self, database: str) -> str:
        return f"postgresql://luthier@{self._host}:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", _USER, "--", *command]
        with (self._folder / "output").open("ab") as output:  # a pipe would stay open in the server
            subprocess.run(command, cwd=self._folder, stdout=output, stderr=output, check=True)


def postgres_or_skip() -> PostgresServer:
    """For a test, which is skipped on a machine that cannot run PostgreSQL."""
    try:
        return PostgresServer()
    except (FileNotFoundError, KeyError) as error:
        pytest.skip(str(error))


def _programs() -> Path:
    """Where initdb and pg_ctl are; Debian has them apart from other programs."""
    on_path = shutil.which("initdb")
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not on_path and not candidates:
        raise FileNotFoundError("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    if os.geteuid() == 0:
        pwd.getpwnam(_USER)
    return Path(on_path).parent if on_path else candidates[-1].parent
