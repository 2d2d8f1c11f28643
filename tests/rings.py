"""Test rings: what a test needs decides when and how it runs. `pytest --ring fast` runs one, `make test` most.

A new test file belongs to `torch` unless its folder is listed as light; tests that use the tiny base are never light.
A light test is `fast` unless it, or its file, is marked `long`, `source` or `services`; a fast or long test that opens
a connection or starts a process fails.
"""

import gc
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
RINGS = {
    "fast": "no torch, no network, no process, no model",
    "long": "as fast, but a long computation",
    "source": "the project's own source code, parsed whole",
    "services": "servers on loopback, child processes, fetched templates; no torch, no model",
    "models": "tiny models in the test's own process",
    "torch": "tiny models behind servers, workers and trainers",
    "base": "the bundled base model",
    "conformance": "OpenAI's own test suites, its Node client, schemathesis",
    "clients": "third-party clients (`make test-clients`)",
    "browser": "Chromium (`make test-browser`)",
    "container": "buildah (`make test-container`)",
    "emulation": "a cross compiler and QEMU (`make test-emulation`)",
    "postgres": "PostgreSQL (`make test-postgres`)",
    "trackers": "packages of experiment trackers (`make test-trackers`)",
}
_LIGHT = ("fast", "long", "source", "services")
# Folders and files, relative to tests/, that are light unless one of their imports or fixtures needs torch.
_LIGHT_PATHS = (
    "catalogue/",
    "cli/",
    "data/",
    "docs/",
    "evaluation/",
    "generate/",
    "migrate/",
    "store/",
    "test_",
    "webhooks/",
    "inference/test_scheduler",
    # They fork, which a process with the threads of a server and of torch must not.
    "worker/test_eval_runs",
    "worker/test_exactly_once",
    "worker/test_lane",
)
# The same, with torch: neither servers nor workers, and no time is measured.
_MODEL_PATHS = ("arch/", "export/", "inference/", "training/")
_NO_MODEL_PATHS = ("training/test_program", "training/test_throughput", "inference/test_vllm")
_TORCH_FIXTURES = {"tiny_base", "real_base"}
_TORCH_IMPORTS = re.compile(
    r"^(?:from|import) (?:torch|transformers|tiny|through_api|families|serving|training|export)\b", re.M
)
_OWN_MARKS = (
    *("browser", "clients", "container", "emulation", "postgres", "trackers"),
    *("torch", "services", "source", "long"),
)
_RING_OF_MARK = {
    **{mark: mark for mark in _OWN_MARKS},
    "slow": "base",
}
_FILE_MARK = re.compile(
    r"^pytestmark = pytest\.mark\.(services|source|slow|clients|browser|container|postgres|trackers)\b", re.M
)
# Audit events of what a fast test must not do.
_SERVICE_EVENTS = frozenset(
    ("os.fork", "os.posix_spawn", "socket.bind", "socket.connect", "socket.getaddrinfo", "subprocess.Popen")
)


@cache
def ring_of_file(path: Path) -> str:
    """The ring of a file's tests; single tests may be marked for another."""
    relative, text = path.relative_to(TESTS).as_posix(), path.read_text(encoding="utf-8")
    if relative.startswith("conformance/"):
        return "conformance"
    if relative.startswith(("browser/", "container/", "emulation/")):
        return relative.partition("/")[0]
    if not relative.startswith(_LIGHT_PATHS) or _TORCH_IMPORTS.search(text):
        is_model = relative.startswith(_MODEL_PATHS) and not relative.startswith(_NO_MODEL_PATHS)
        return "models" if is_model else "torch"
    mark = _FILE_MARK.search(text)
    return _RING_OF_MARK[mark[1]] if mark else "fast"


def is_collected(path: Path, rings: set[str]) -> bool:
    """Whether pytest reads a file, in all its folders, for these rings."""
    folders = [folder for folder in path.parents if TESTS in folder.parents]
    return not rings <= set(_LIGHT) or all(_may_have(part, rings) for part in (path, *folders))


def _may_have(path: Path, rings: set[str]) -> bool:
    """Whether a file or folder may have tests of the rings."""
    if path.is_dir() and TESTS in path.parents:
        folder = f"{path.relative_to(TESTS).as_posix()}/"
        return any(folder.startswith(light) or light.startswith(folder) for light in _LIGHT_PATHS)
    if path.suffix != ".py" or not path.name.startswith("test_"):
        return True
    return ring_of_file(path) in rings | {"fast"}  # in a fast file, single tests may be marked


def ring_of(test: pytest.Item) -> str:
    """A mark decides, but `services` only in light files: no others are collected for the light rings."""
    ring = ring_of_file(test.path)
    marked = [ring for mark, ring in _RING_OF_MARK.items() if test.get_closest_marker(mark)]
    if marked and (marked[0] not in _LIGHT or ring in _LIGHT):
        return marked[0]
    return "torch" if ring in _LIGHT and _TORCH_FIXTURES & set(getattr(test, "fixturenames", ())) else ring


def add_options(parser: pytest.Parser) -> None:
    parser.addoption("--ring", action="append", choices=sorted(RINGS), help="run the tests of a ring; repeatable")
    parser.addoption("--ring-times", type=Path, metavar="FILE", help="write tests and seconds of each ring as JSON")


class Rings:
    """The pytest plugin: selects rings, measures them, and holds the light ones to their promises."""

    def __init__(self, config: pytest.Config) -> None:
        self._rings: set[str] = set(config.getoption("--ring") or [])
        self._are_light = bool(self._rings) and self._rings <= set(_LIGHT)
        self._times: Path | None = config.getoption("--ring-times")
        self._is_worker = hasattr(config, "workerinput")
        self._seconds: dict[str, float] = defaultdict(float)
        self._tests: dict[str, int] = defaultdict(int)
        self._running: str | None = None  # the ring of the test that runs
        sys.addaudithook(self._hold_promises)

    def _hold_promises(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _SERVICE_EVENTS and self._running in ("fast", "long"):
            pytest.fail(f"{event} in a test of the ring `{self._running}`; mark it `services` (tests/rings.py)")
        if event == "import" and arguments[0] == "torch" and (self._running in _LIGHT or self._are_light):
            pytest.fail("torch is imported by a light ring (tests/rings.py)")

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Modules of other rings are not even imported: importing torch takes seconds."""
        return True if self._are_light and not _may_have(collection_path, self._rings) else None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        selected, others = [], []
        for test in items:
            ring = ring_of(test)
            test.user_properties.append(("ring", ring))
            (selected if not self._rings or ring in self._rings else others).append(test)
        if others:
            config.hook.pytest_deselected(items=others)
            items[:] = selected

    def pytest_collection_finish(self) -> None:
        if self._are_light:  # no tensors wait to be freed: a tenth of the time is the garbage collector's
            gc.set_threshold(100_000, 20, 50)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._running = dict(item.user_properties)["ring"]
        try:
            return (yield)
        finally:
            self._running = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Reports come from all processes to the one that prints the summary."""
        ring = str(dict(report.user_properties).get("ring"))
        self._seconds[ring] += report.duration
        self._tests[ring] += report.when == "setup"

    def pytest_sessionfinish(self) -> None:
        if self._times and not self._is_worker:
            rings = {ring: {"tests": self._tests[ring], "seconds": self._seconds[ring]} for ring in self._seconds}
            self._times.write_text(json.dumps(rings), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for ring, seconds in self._seconds.items():
            terminalreporter.write_line(f"ring {ring}: {self._tests[ring]:,} tests, {seconds:.0f} s")
