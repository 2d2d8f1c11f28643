"""Chromium, driven by Playwright, against real servers; without one the tests are skipped, with the reason."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_visit import Visit
from dashboard_jobs import EXAMPLES, INJECTED, create_job, jsonl, until_over
from openai import OpenAI
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright
from seeded_jobs import SeededJobs, seed
from threaded_server import in_thread, threaded_server

from luthier.runtime import LuthierServer
from through_api import client_of

PATIENCE_MS = 420_000  # for what a job must do first, on a busy machine; a test that passes never waits so long
ACTION_MS = 90_000  # for what is on the page already
expect.set_options(timeout=PATIENCE_MS)
_ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """`CHROMIUM` names the program; else the one on the path."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium: install it (Debian: apt-get install chromium fonts-noto-cjk)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS.split())
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def dashboard(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LuthierServer]:
    """A server with a worker, on the tiny base, which trains in float32: what it exports is held to that."""
    with threaded_server(tmp_path_factory.mktemp("dashboard"), tiny_base, precision="float32") as running:
        yield running


@pytest.fixture(scope="session")
def api(dashboard: LuthierServer) -> OpenAI:
    return client_of(dashboard)


@pytest.fixture(scope="session")
def finished(api: OpenAI, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that succeeded, whose name, metadata and data try to become markup."""
    hostile = {"messages": [{"role": "user", "content": INJECTED}, {"role": "assistant", "content": INJECTED}]}
    path = jsonl(tmp_path_factory.mktemp("finished"), *EXAMPLES, hostile, name="hostile.jsonl")
    job_id = create_job(api, path, suffix="demo", metadata={INJECTED[:60]: INJECTED})
    assert until_over(api, job_id) == "succeeded"
    return job_id


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that knows nothing yet."""
    with chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB") as context:
        context.set_default_timeout(ACTION_MS)
        yield context


@pytest.fixture(scope="session")
def seeded(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LuthierServer, SeededJobs]]:
    """A server without a worker, and jobs as if they had been trained."""
    data = tmp_path_factory.mktemp("seeded")
    with threaded_server(data, tiny_base, worker=False) as running:
        yield running, in_thread(seed, data, tiny_base)


@pytest.fixture
def managed(context: BrowserContext, seeded: tuple[LuthierServer, SeededJobs]) -> Iterator[Visit]:
    """As `visit`, on the server without a worker."""
    visit = Visit(context.new_page(), seeded[0].endpoint.base_url.removesuffix("/v1"))
    yield visit
    assert visit.problems == []


@pytest.fixture
def visit(context: BrowserContext, dashboard: LuthierServer) -> Iterator[Visit]:
    visit = Visit(context.new_page(), dashboard.endpoint.base_url.removesuffix("/v1"))
    yield visit
    assert visit.problems == []
