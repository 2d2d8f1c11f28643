"""The command line in this process, against a small server of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from command_line import Run, run
from fake_api import FakeAPI, RunningAPI

EXAMPLE = '{"messages": [{"role": "user", "content": "q%d"}, {"role": "assistant", "content": "a"}]}\n'


@pytest.fixture(autouse=True)
def _environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """English, no server named, an own folder, no base model unless the test has one, quick polls."""
    if "real_base" not in request.fixturenames:
        monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "LUTHIER_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LUTHIER_LANG", "en")
    monkeypatch.setenv("LUTHIER_CONFIG", str(tmp_path / "no-config.toml"))
    monkeypatch.setattr("luthier.cli.watch.POLL_S", 0.005)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def api() -> Iterator[FakeAPI]:
    with RunningAPI() as running:
        yield running


@pytest.fixture
def luthier(api: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line against `api`."""
    monkeypatch.setenv("OPENAI_BASE_URL", api.base_url)
    return run


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(EXAMPLE % number for number in range(12)))
    return path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.jsonl"
    path.write_text("".join(EXAMPLE % number for number in range(12)) + "not json\n" * 5)
    return path


@dataclass
class Endpoint:
    base_url: str
    api_key: str
    embedded: bool


@pytest.fixture
def embedded(api: FakeAPI, monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """Makes `api` the embedded server; the data folders that were asked for."""
    asked: list[Path | None] = []

    @contextmanager
    def running_or_embedded(data: Path | None) -> Iterator[Endpoint]:
        asked.append(data)
        yield Endpoint(api.base_url, "embedded-key", True)

    module = ModuleType("luthier.runtime")
    module.__dict__["running_or_embedded"] = running_or_embedded
    monkeypatch.setitem(sys.modules, "luthier.runtime", module)
    return asked
