"""What tests share: a tiny model made in code, and real servers that the official client talks to."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from on_postgres import OnPostgres
from rings import Rings, add_options

if TYPE_CHECKING:
    from openai import OpenAI

    from luthier.runtime import LuthierServer

# Settings that the person who runs the tests has must not reach them. The cache of base models is shared on purpose;
# a lower tier stands for another CPU.
_OF_THE_MACHINE = {"LUTHIER_CACHE", "LUTHIER_CPU_TIER"}
for name in [name for name in os.environ if name.startswith(("LUTHIER_", "OPENAI_")) and name not in _OF_THE_MACHINE]:
    del os.environ[name]

# Their modules import the browser's driver, which only `make test-browser` installs.
collect_ignore = [] if find_spec("playwright") else ["browser"]

# A machine that is busy for a moment is no fault that Hypothesis is to find. Tests set `max_examples` alone: what they
# suppress themselves would replace this list.
settings.register_profile(
    "here",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize="CI" in os.environ,
)
settings.register_profile("fast", parent=settings.get_profile("here"), max_examples=10)  # of 100
settings.load_profile("here")

# A shell that starts a command in the background has it ignore Ctrl-C, which some tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)
    parser.addoption("--postgres", action="store_true", help="stores of the tests' own process are on PostgreSQL")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Rings(config), "rings")
    if config.getoption("--ring") == ["fast"]:
        settings.load_profile("fast")
    if config.getoption("--postgres"):
        config.pluginmanager.register(OnPostgres(), "on-postgres")
    gc.disable()  # while modules are imported and tests collected, next to nothing becomes garbage


def pytest_collection_finish() -> None:
    gc.freeze()  # modules and tests stay: no collection need look at them again
    gc.enable()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of 2 layers, 32 wide, with a byte tokenizer and ChatML template: no download, no meaning."""
    from tiny import make_tiny_base  # imports torch, which the fast ring does without

    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def real_base() -> Path:
    """The embedded base model; `make test` fetches it once into the cache."""
    from luthier.catalogue import Catalogue
    from luthier.settings import Settings

    return Catalogue(Settings().cache).folder(Settings().base, print)


@pytest.fixture(scope="session")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LuthierServer]:
    """A server on the tiny base, shared by tests that leave no trace for one another."""
    from through_api import running_server

    with running_server(tmp_path_factory.mktemp("server"), tiny_base) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: LuthierServer) -> OpenAI:
    """The official client, without retries: what the server answers first is what a test sees."""
    from through_api import client_of

    return client_of(server)
