"""A teacher on loopback, and runs against it in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from generate.teacher_server import TeacherServer
from luthier.generate.journal import Journal

if TYPE_CHECKING:
    import openai

    from luthier.generate.run import GenerationResult, TeacherOptions
    from luthier.generate.topics import TopicSpec


@pytest.fixture(autouse=True)
def _quick_and_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.generate.retries.FIRST_DELAY_S", 0.01)
    monkeypatch.setenv("LUTHIER_LANG", "en")


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    with TeacherServer() as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "data.journal")
    yield opened
    opened.close()


@pytest.fixture
def notifications() -> list[str]:
    """The run's notifications."""
    return []


@pytest.fixture
def topics(server: TeacherServer, journal: Journal, notifications: list[str]) -> Callable[..., GenerationResult]:
    """Generates the examples of a specification."""
    from luthier.generate.run import TeacherOptions, generate_from_topics

    def generate(spec: TopicSpec, options: TeacherOptions | None = None) -> GenerationResult:
        return run_with(
            server,
            lambda client: generate_from_topics(
                client,
                options or TeacherOptions("t"),
                spec,
                journal,
                progress=lambda *_: None,
                notify=notifications.append,
            ),
        )

    return generate


def run_with(server: TeacherServer, what: Callable[[openai.AsyncOpenAI], Coroutine[Any, Any, Any]]):
    """The result of `what` with a client of the server's."""
    import openai

    async def run():
        web = openai.DefaultAsyncHttpxClient(trust_env=False)
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="k", timeout=120, http_client=web) as client:
            return await what(client)

    return asyncio.run(run())
