"""Fixtures of the server's tests: clients, and servers without a worker, with a scripted engine, and with API keys."""

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest
import torch
from openai import OpenAI
from serving import Bare, ScriptedEngine, bare_server

from luthier.runtime import LuthierServer


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Engines compute in one: a second one gains the tiny model nothing, and slows it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with patch("luthier.inference.engines.native.runner.compute_threads", lambda: 1):
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def raw(server: LuthierServer) -> Iterator[httpx.Client]:
    """For requests that the official client would not send."""
    with httpx.Client(base_url=server.endpoint.base_url, timeout=60) as http:
        yield http


@pytest.fixture(scope="session")
def bare(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A server without a worker: jobs keep their status until a test changes it."""
    with bare_server(tmp_path_factory.mktemp("bare"), tiny_base) as running:
        yield running


@pytest.fixture(scope="session")
def bare_client(bare: Bare) -> OpenAI:
    return bare.client()


@pytest.fixture(scope="session")
def engine(tiny_base: Path) -> ScriptedEngine:
    return ScriptedEngine(tiny_base)


@pytest.fixture(scope="session")
def scripted_server(
    tiny_base: Path, engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bare]:
    with bare_server(tmp_path_factory.mktemp("scripted"), tiny_base, engine) as running:
        yield running


@pytest.fixture(scope="session")
def scripted(scripted_server: Bare) -> OpenAI:
    """A client of the server that answers with the texts of `engine.say`."""
    return scripted_server.client()


@pytest.fixture(scope="module")
def keyed(tiny_base: Path, engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """A server with keys of two projects and one of the whole organization; `engine` answers."""
    keys = "proj_a=sk-key-of-a,proj_a=sk-second-of-a,proj_b=sk-key-of-b==,sk-key-of-all"
    with bare_server(tmp_path_factory.mktemp("keyed"), tiny_base, engine, api_keys=keys) as running:
        yield running


@pytest.fixture(scope="module")
def a(keyed: Bare) -> OpenAI:
    return keyed.client(api_key="sk-key-of-a")


@pytest.fixture(scope="module")
def b(keyed: Bare) -> OpenAI:
    return keyed.client(api_key="sk-key-of-b==")


@pytest.fixture(scope="module")
def everybody(keyed: Bare) -> OpenAI:
    return keyed.client(api_key="sk-key-of-all")
