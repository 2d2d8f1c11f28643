"""`luthier doctor` on installations that are wrong in one way each: it says what, and what to do."""

import socket
import sqlite3
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from luthier.cli import doctor_installation as checks
from luthier.cli.doctor import _engine as doctor_engine
from luthier.cli.doctor_finding import Finding
from luthier.cli.i18n import language_set
from luthier.devices import DEVICES
from luthier.native import dtype_choice
from luthier.settings import Settings
from luthier.store import Store
from store.test_store import JOB


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of this release, with a job and a key."""
    store = Store(tmp_path / "data")
    store.jobs.create(**JOB)
    store.api_keys.create("weather", project=None, role="member")
    store.close()
    return tmp_path / "data"


def _sql(data: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(data / "luthier.db") as connection:
        connection.execute(statement, values)
    connection.close()


def _finding(check: Callable[[Settings], object], data: Path, **settings: object) -> Finding:
    """Its last one."""
    return list(check(Settings(data=data, **settings)))[-1]


def test_a_sound_installation(data: Path) -> None:
    for check in (checks.permissions, checks.database, checks.keys, checks.kernels):
        assert _finding(check, data).status == "ok"
    assert "1 managed" in _finding(checks.keys, data).text
    assert _finding(checks.database, data / "nowhere").text == "none yet"
    assert list(checks.permissions(Settings(data=data / "nowhere"))) == []


def test_permissions(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data.chmod(0o755)
    finding = _finding(checks.permissions, data)
    assert (finding.status, finding.remedy) == ("warning", f"chmod 700 {data}")
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "luthier.db")
    finding = _finding(checks.permissions, data)
    assert finding.status == "error"
    assert str(data / "luthier.db") in finding.text


def test_a_database_of_another_release(data: Path) -> None:
    _sql(data, "UPDATE schema SET version = version + 1")
    assert _finding(checks.database, data).status == "error"
    assert "later release" in _finding(checks.database, data).remedy
    _sql(data, "UPDATE schema SET version = version - 2")
    assert _finding(checks.database, data).status == "warning"
    before = (data / "luthier.db").read_bytes()
    assert "luthier backup" in _finding(checks.database, data).remedy
    assert (data / "luthier.db").read_bytes() == before  # looked into, not migrated


def test_a_file_that_is_no_database(data: Path) -> None:
    (data / "luthier.db").write_bytes(b"no database at all" * 100)
    assert _finding(checks.database, data).status == "error"
    assert list(checks.keys(Settings(data=data))) == []


@pytest.mark.services
def test_a_database_server_that_does_not_answer(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    finding = _finding(checks.database, data, store=f"postgresql://luthier:secret@127.0.0.1:{port}/luthier")
    assert finding.status == "error"
    assert "`store`" in finding.remedy
    assert "secret" not in finding.text


def test_a_clock_that_went_back(data: Path) -> None:
    _sql(data, "UPDATE events SET created_at = ?", int(time.time()) + 3600)
    finding = _finding(checks.database, data)
    assert (finding.name, finding.status) == ("clock", "error")


def test_keys(data: Path) -> None:
    _sql(data, "UPDATE api_keys SET expires_at = ?", int(time.time()) + 3600)
    finding = _finding(checks.keys, data)
    assert finding.status == "warning"
    assert "weather" in finding.text
    _sql(data, "UPDATE api_keys SET revoked_at = 1")
    assert _finding(checks.keys, data).status == "ok"  # loopback
    assert _finding(checks.keys, data, host="0.0.0.0").status == "error"
    assert _finding(checks.keys, data, host="0.0.0.0", api_keys="sk-x").status == "ok"


@pytest.mark.parametrize(("skew_s", "status"), [(0, "ok"), (3600, "warning"), (-3600, "warning")])
def test_the_clock_is_compared_with_the_hub(
    data: Path, monkeypatch: pytest.MonkeyPatch, skew_s: int, status: str
) -> None:
    date = formatdate(time.time() + skew_s, usegmt=True)
    monkeypatch.setattr("httpx.Client.head", lambda *_, **__: httpx.Response(200, headers={"date": date}))
    findings = list(checks.hub(Settings(data=data)))
    assert [(finding.name, finding.status) for finding in findings] == [("hub", "ok"), ("clock", status)]


@pytest.mark.parametrize("endpoint", ["https://hub.invalid", "no url", "http://["])
def test_a_hub_that_cannot_be_reached(data: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    def head(*_: object, **__: object) -> httpx.Response:
        raise httpx.ConnectError("no route to the host")

    monkeypatch.setattr("httpx.Client.head", head)
    finding = _finding(checks.hub, data, hub_endpoint=endpoint)
    assert (finding.status, "cannot be reached" in finding.text) == ("warning", True)


@pytest.mark.parametrize(
    ("bf16_speedup", "english", "chinese"),
    [
        (None, "dtype bfloat16 or float32: the first job measures", "由第一个任务实测"),
        (
            0.31,
            "dtype float32: measured on this CPU, bfloat16 multiplies 0.31 times",
            "数据类型 float32：在这个 CPU 上实测",
        ),
        (2.2, "dtype bfloat16: measured on this CPU", "数据类型 bfloat16：在这个 CPU 上实测"),
    ],
)
def test_the_dtype_is_that_of_jobs(
    monkeypatch: pytest.MonkeyPatch, bf16_speedup: float | None, english: str, chinese: str
) -> None:
    """On a CPU where it is measured, before the first job and after it."""
    monkeypatch.setattr("luthier.cli.doctor.default_base", lambda: "absent")
    monkeypatch.setattr(type(DEVICES["cpu"]), "has_fast_bfloat16", lambda _: True)
    monkeypatch.setattr(dtype_choice, "cpu_tiers", lambda: [SimpleNamespace(name="avx512")])
    monkeypatch.setattr(dtype_choice, "read_measurement", lambda *_: bf16_speedup)
    assert english in next(doctor_engine(Settings(device="cpu"))).text
    with language_set("zh"):
        assert chinese in next(doctor_engine(Settings(device="cpu"))).text


def test_the_limit_on_open_files(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, status in ((256, "warning"), (65536, "ok"), (-1, "ok")):
        monkeypatch.setattr("resource.getrlimit", lambda _, limit=limit: (limit, 4096))
        assert _finding(checks.open_files, data).status == status


def test_chinese(data: Path) -> None:
    with language_set("zh"):
        assert "结构版本" in _finding(checks.database, data).text
