"""The tests that OpenAI ships with its Python client, run against `luthier serve`. The score is asserted exactly."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conformance.fetch import SUITES, Suite, require
from conformance.mapping import Mapping, table
from conformance.proxy import mapped
from conformance.seeds import KEYS, Seeds

# Area, where its tests lie under tests/api_resources, and how many of them pass with each client.
# 0: none of them sends a request.
AREAS = [
    ("files", ["test_files.py"], {"3.57.0": 117, "1.109.1": 117}),
    ("uploads", ["test_uploads.py", "uploads"], {"3.57.0": 85, "1.109.1": 85}),
    ("jobs", ["fine_tuning/test_jobs.py"], {"3.57.0": 145, "1.109.1": 145}),
    ("job checkpoints", ["fine_tuning/jobs"], {"3.57.0": 25, "1.109.1": 25}),
    ("checkpoint permissions", ["fine_tuning/checkpoints"], {"3.57.0": 90, "1.109.1": 65}),
    ("graders", ["fine_tuning/alpha"], {"3.57.0": 40, "1.109.1": 40}),
    ("models", ["test_models.py"], {"3.57.0": 55, "1.109.1": 55}),
    ("chat", ["chat"], {"3.57.0": 145, "1.109.1": 150}),
    ("responses", ["test_responses.py", "responses"], {"3.57.0": 195, "1.109.1": 157}),
    ("conversations", ["test_conversations.py", "conversations"], {"3.57.0": 175, "1.109.1": 175}),
    ("completions", ["test_completions.py"], {"3.57.0": 40, "1.109.1": 40}),
    ("embeddings", ["test_embeddings.py"], {"3.57.0": 20, "1.109.1": 20}),
    ("batches", ["test_batches.py"], {"3.57.0": 80, "1.109.1": 80}),
    ("evals", ["test_evals.py", "evals"], {"3.57.0": 260, "1.109.1": 260}),
    ("webhooks", ["test_webhooks.py", "webhooks"], {"3.57.0": 160, "1.109.1": 0}),
]
SKIPPED = 3  # by the suites themselves: files.content with aiohttp, which their mock of HTTP does not know


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """`luthier serve` as a person starts it, on the tiny model: its address and its data folder."""
    folder = tmp_path_factory.mktemp("conformance")
    data, log = folder / "data", folder / "log"
    settings = {"base": tiny_base, "port": 0, "data": data, "api_keys": ",".join(KEYS), "default_max_tokens": 16}
    settings |= {"precision": "float32", "threads": 1, "webhook_hosts": "localhost"}
    environment = os.environ | {f"LUTHIER_{name.upper()}": str(value) for name, value in settings.items()}
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "luthier", "serve"], env=environment, stdout=out, stderr=out)
    address, end = data / "server.json", time.monotonic() + 300
    while not address.exists() or not address.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    yield json.loads(address.read_text())["base_url"], data
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0, log.read_text()


@pytest.fixture(scope="module")
def seeds(server: tuple[str, Path]) -> Iterator[Seeds]:
    result = Seeds(*server)
    yield result
    result.close()


@pytest.fixture(scope="module")
def used() -> list[Counter[str]]:
    """What each suite needed of the mapping."""
    return []


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.version)
def test_the_clients_own_tests_pass(
    suite: Suite,
    server: tuple[str, Path],
    seeds: Seeds,
    used: list[Counter[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mapping = Mapping(seeds)
    with mapped(server[0], seeds, mapping) as address:
        message, results = _run(suite, address, tmp_path / "results.xml")
    with capsys.disabled():
        print(f"\nThe tests of openai {suite.version}, as pytest sums them up: {message.splitlines()[-1]}")
        print(*_by_area(results), "What the harness changed, and how often:", *table(mapping.used), sep="\n")
    expected = {area: Counter(passed=passed[suite.version]) for area, _, passed in AREAS}
    expected["files"]["skipped"] = SKIPPED
    assert results == expected, message[-6000:]
    total = sum(passed[suite.version] for _, _, passed in AREAS)
    assert message.splitlines()[-1].startswith(f"{total} passed, {SKIPPED} skipped in ")
    used.append(mapping.used)


def test_every_change_is_needed(used: list[Counter[str]]) -> None:
    """By one suite or the other. A line of the mapping that none needs any more goes."""
    if len(used) < len(SUITES):
        pytest.skip("not every suite has been run")
    assert not [line for line in table(sum(used, Counter())) if line.split()[0] == "0"]


def _run(suite: Suite, address: str, report: Path) -> tuple[str, dict[str, Counter[str]]]:
    """(what pytest printed, by area how many tests ended how)."""
    require(suite.source)
    require(suite.venv)
    places = [
        f"tests/api_resources/{place}" for _, places, passed in AREAS if passed[suite.version] for place in places
    ]
    options = ["-q", "-o", "addopts=--tb=short", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command = [suite.venv / "bin" / "python", "-m", "pytest", *options, *places]
    environment = {**os.environ, "TEST_API_BASE_URL": address, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(command, cwd=suite.source, env=environment, capture_output=True, text=True, check=False)
    assert report.exists(), ran.stdout + ran.stderr
    results: dict[str, Counter[str]] = {area: Counter() for area, _, _ in AREAS}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest's own
        results[_area(case.attrib["classname"])][_outcome(case)] += 1
    return ran.stdout, results


def _area(classname: str) -> str:
    path = classname.removeprefix("tests.api_resources.").replace(".", "/") + "/"
    return next(
        area for area, places, _ in AREAS for place in places if path.startswith(place.removesuffix(".py") + "/")
    )


def _outcome(case: ElementTree.Element) -> str:
    bad = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), None)
    return {"failure": "failed", "error": "failed", "skipped": "skipped", None: "passed"}[bad]


def _by_area(results: dict[str, Counter[str]]) -> Iterator[str]:
    for area, counts in results.items():
        yield f"{area:>22}  " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
