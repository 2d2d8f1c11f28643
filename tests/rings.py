"""Test rings: what a test needs decides when it runs. `pytest --ring fast` runs one, `make test` all but `clients`.

A new test file belongs to `torch` unless its folder is listed as fast; tests that use the tiny base are never fast.
"""

import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLE = TESTS / "RINGS.md"
RINGS = {
    "fast": "no torch, no network beyond loopback, no model",
    "torch": "tiny models, servers, workers and trainers",
    "base": "the bundled base model",
    "conformance": "OpenAI's own test suites, its Node client, schemathesis",
    "clients": "clients of other makers (`make test-clients`)",
}
# Folders and files, relative to tests/, that are fast unless one of their imports or fixtures needs torch.
_FAST = (
    "catalogue/",
    "cli/",
    "data/",
    "docs/",
    "evaluation/",
    "generate/",
    "migrate/",
    "store/",
    "test_",
    "inference/test_scheduler",
)
_TORCH_FIXTURES = {"tiny_base", "real_base"}
_TORCH_IMPORTS = re.compile(
    r"^(?:from|import) (?:torch|transformers|tiny|through_api|families|serving|training)\b", re.M
)


@cache
def _path_ring(path: Path) -> str:
    relative = path.relative_to(TESTS).as_posix()
    if relative.startswith("conformance/"):
        return "conformance"
    if not relative.startswith(_FAST) or _TORCH_IMPORTS.search(path.read_text(encoding="utf-8")):
        return "torch"
    return "fast"


def ring_of(test: pytest.Item) -> str:
    if test.get_closest_marker("clients"):
        return "clients"
    if test.get_closest_marker("slow"):
        return "base"
    ring = _path_ring(test.path)
    needs_torch = test.get_closest_marker("torch") or _TORCH_FIXTURES & set(getattr(test, "fixturenames", ()))
    return "torch" if ring == "fast" and needs_torch else ring


def add_options(parser: pytest.Parser) -> None:
    parser.addoption("--ring", choices=sorted(RINGS), help="run the tests of one ring; see tests/rings.py")
    parser.addoption("--write-ring-times", action="store_true", help=f"write the minutes of each ring to {TABLE.name}")


class Rings:
    """The pytest plugin: selects a ring, measures all of them, and holds `fast` to its promise."""

    def __init__(self, config: pytest.Config) -> None:
        self._ring: str | None = config.getoption("--ring")
        self._write_times: bool = config.getoption("--write-ring-times")
        self._seconds: dict[str, float] = defaultdict(float)
        self._tests: dict[str, int] = defaultdict(int)
        self._importers_of_torch: list[str] = []

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Modules outside the fast ring are not even imported: importing torch takes seconds."""
        is_module = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
        return True if self._ring == "fast" and is_module and _path_ring(collection_path) != "fast" else None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if self._ring is None:
            return
        selected = [test for test in items if ring_of(test) == self._ring]
        config.hook.pytest_deselected(items=[test for test in items if ring_of(test) != self._ring])
        items[:] = selected

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        start = time.perf_counter()
        finished = yield
        self._seconds[ring_of(item)] += time.perf_counter() - start
        self._tests[ring_of(item)] += 1
        if self._ring == "fast" and "torch" in sys.modules and not self._importers_of_torch:
            self._importers_of_torch.append(item.nodeid)
        return finished

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._ring == "fast" and "torch" in sys.modules:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._write_times:
            TABLE.write_text(self._table(), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._ring == "fast" and "torch" in sys.modules:
            importer = self._importers_of_torch[0] if self._importers_of_torch else "the collection"
            terminalreporter.write_line(f"ERROR: the ring `fast` imported torch, in {importer}", red=True)
        for ring, seconds in self._seconds.items():
            terminalreporter.write_line(f"ring {ring}: {self._tests[ring]} tests, {seconds:.0f} s")

    def _table(self) -> str:
        rows = [
            f"| `{ring}` | {need} | {self._tests[ring]:,} | {self._seconds[ring] / 60:.1f} |"
            for ring, need in RINGS.items()
            if ring in self._seconds
        ]
        total = f"| all | | {sum(self._tests.values()):,} | {sum(self._seconds.values()) / 60:.1f} |"
        header = [
            "# Test rings",
            "",
            "Written by `pytest --write-ring-times`; wall-clock minutes on two cores. The rings: [rings.py](rings.py).",
            "",
            "| ring | needs | tests | minutes |",
            "|---|---|---|---|",
        ]
        return "\n".join([*header, *rows, total, ""])
