"""Full fine-tuning through the front door: proved, served, trained on, and deleted in the right order."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from luthier.inference.options import EngineOptions
from luthier.inference.pool import EnginePool
from luthier.runtime import LuthierServer
from through_api import client_of, create, finished, losses, messages, running_server, upload

FULL = {"luthier:tuning": "full"}


@pytest.fixture(scope="module")
def running(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LuthierServer]:
    with running_server(tmp_path_factory.mktemp("data"), tiny_base, precision="float32", threads=1) as running:
        yield running


@pytest.fixture(scope="module")
def client(running: LuthierServer) -> OpenAI:
    return client_of(running)


def _answer(client: OpenAI, model: str) -> str:
    question = [{"role": "user", "content": "number 3"}]
    completion = client.chat.completions.create(model=model, messages=question, max_tokens=8, temperature=0)
    return completion.choices[0].message.content


def test_a_model_trained_whole_is_served_and_trained_on(client: OpenAI) -> None:
    file_id = upload(client)
    short = {
        "hyperparameters": {"n_epochs": 8, "batch_size": 4, "learning_rate_multiplier": 10},
        "metadata": FULL,
        "seed": 1,
    }
    first = finished(client, create(client, file_id, **short).id)
    texts = messages(client, first.id)
    assert any(
        text.startswith("Parity check passed: the serving engine reproduces the trained model (mean difference 0.00")
        for text in texts
    )
    model = client.models.retrieve(first.fine_tuned_model)
    assert model.to_dict()["parent"] == "gpt-3.5-turbo-0125"
    answer = _answer(client, first.fine_tuned_model)
    assert answer != _answer(client, "gpt-3.5-turbo")
    learnt = losses(client, first.id)[-1][1]
    once = {"hyperparameters": {"n_epochs": 1, "batch_size": 12}, "model": first.fine_tuned_model, "seed": 1}
    on_it = finished(client, create(client, file_id, **once).id)
    assert losses(client, on_it.id)[0][1] < 1.5 * learnt
    assert _answer(client, on_it.fine_tuned_model)
    with pytest.raises(BadRequestError, match="Other models or jobs start from the model"):
        client.models.delete(first.fine_tuned_model)
    client.models.delete(on_it.fine_tuned_model)
    client.models.delete(first.fine_tuned_model)
    with pytest.raises(NotFoundError):
        _answer(client, first.fine_tuned_model)


class _Engine:
    context_tokens, idle, closed = 8, True, False

    def __init__(self, base: Path, options: EngineOptions) -> None:
        self.base = base

    def close(self) -> None:
        self.closed = True


def test_the_least_recently_used_idle_engine_is_evicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    for name in ("first", "second", "third", "fourth"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("luthier.inference.pool.monotonic", lambda: now[0])
    pool = EnginePool(EngineOptions(max_models=2), _Engine)
    first, second = pool.engine(tmp_path / "first"), pool.engine(tmp_path / "second")
    third = pool.engine(tmp_path / "third")
    assert [first.closed, second.closed] == [False, False]  # used just now: a request may follow
    now[0] += 60
    assert pool.engine(tmp_path / "first") is first
    first.idle = third.idle = False
    now[0] += 60
    pool.engine(tmp_path / "fourth")
    assert [engine.closed for engine in (first, second, third)] == [False, True, False]
    pool.discard(tmp_path / "third")
    assert third.closed
    assert pool.engine(tmp_path / "third") is not third
