"""Data parallelism: any number of ranks takes the same steps."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from luthier.store.job_states import state_version
from luthier.training.batching import split
from luthier.training.model import load_model
from luthier.training.ranks import Ranks
from luthier.training.setup import build_trainer
from training.jobs import losses, train, write_job
from training.test_preference import PAIRS

PROGRAM = [sys.executable, "-m", "luthier.training"]


def stopped_at(folder: Path, event_type: str) -> list[dict[str, Any]]:
    """Runs the trainer program, with all its ranks, until an event of that type and a stop request; its events."""
    process = subprocess.Popen([*PROGRAM, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["type"] == event_type:
            process.send_signal(signal.SIGTERM)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75, errors.decode()
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


class _Thread(Ranks):
    """Ranks in threads of one process; sums go through a list that they share."""

    def __init__(self, rank: int, barrier: threading.Barrier, terms: list[torch.Tensor]) -> None:
        super().__init__(rank, len(terms))
        self._barrier, self._terms = barrier, terms

    def sum_(self, tensor: torch.Tensor) -> None:
        self._terms[self.rank] = tensor.detach().clone()
        self._barrier.wait(300)
        total = torch.stack(self._terms).sum(0)
        self._barrier.wait(300)
        tensor.detach().copy_(total)


def _train_on(folder: Path, count: int) -> list[list[dict[str, Any]]]:
    """The events of every rank."""
    events: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    barrier, terms = threading.Barrier(count), [torch.empty(0)] * count

    def run(rank: int) -> None:
        try:
            ranks = _Thread(rank, barrier, terms)
            build_trainer(folder, lambda event: events[rank].append(event.model_dump()), threading.Event(), ranks).run()
        except BaseException:
            barrier.abort()
            raise

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return events


def _one_at_a_time(load: Callable[..., Any]) -> Callable[..., Any]:
    """transformers loads a model in a context of the whole process."""
    lock = threading.Lock()

    def locked(*arguments: Any) -> Any:
        with lock:
            return load(*arguments)

    return locked


@pytest.mark.parametrize(("method", "count"), [("supervised", 4), ("dpo", 2), ("full", 2)])
def test_losses_do_not_depend_on_the_number_of_ranks(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, count: int, method: str
) -> None:
    """Batches of three examples leave one of four ranks without any."""
    monkeypatch.setattr("luthier.training.model.load_model", _one_at_a_time(load_model))
    overrides: dict[str, Any] = {"valid": 3, "batch_size": 3, "n_epochs": 1}
    if method == "dpo":
        overrides |= {"examples": PAIRS, "method": "dpo"}
    if method == "full":
        overrides |= {"tuning": "full"}
    alone = train(write_job(tmp_path / "alone", tiny_base, **overrides))
    together = _train_on(write_job(tmp_path / "together", tiny_base, **overrides), count)
    for name in ("train_loss", "full_valid_loss", "train_mean_token_accuracy"):
        expected = [event["metrics"][name] for event in alone if name in event.get("metrics", {})]
        for events in together:
            metrics = [event["metrics"][name] for event in events if name in event.get("metrics", {})]
            assert metrics == pytest.approx(expected, abs=1e-5)
    assert [event for event in together[0] if event["type"] == "finished"] == [alone[-1]]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_examples_are_split_by_their_tokens(ranks: int) -> None:
    for lengths in ([5], [100, 900], [10] * 12, [700, 1, 1, 1, 1, 300], [1, 1, 1, 5000]):
        owners = split(lengths, ranks)
        assert all(0 <= owner < ranks for owner in owners)
        assert all(left <= right for left, right in pairwise(owners))
        for rank in range(ranks):
            tokens = sum(length for length, owner in zip(lengths, owners, strict=True) if owner == rank)
            assert tokens <= sum(lengths) / ranks + max(lengths)


def test_processes_stop_together_and_one_alone_goes_on(tmp_path: Path, tiny_base: Path) -> None:
    alone = train(write_job(tmp_path / "alone", tiny_base, valid=2, n_epochs=4))
    folder = write_job(tmp_path / "job", tiny_base, valid=2, n_epochs=4, processes=2)
    first = stopped_at(folder, "metrics")
    assert next(event for event in first if event["type"] == "hardware")["processes"] == 2
    assert state_version(folder) is not None  # as the worker sees that a state was saved
    resumed = train(folder)
    assert losses(first) + losses(resumed) == pytest.approx(losses(alone), abs=1e-5)
    weights = [load_file(job / "checkpoints" / "step-12" / "adapter_model.safetensors")
               for job in (tmp_path / "alone", folder)]  # fmt: skip
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-4, rtol=0)


def test_a_process_that_dies_is_a_fault_of_the_machine(tmp_path: Path, tiny_base: Path) -> None:
    """With a sharded base the other one may be in the middle of a forward pass."""
    folder = write_job(tmp_path / "job", tiny_base, n_epochs=50, processes=2, shard_base=True)
    environment = {**os.environ, "GLIBC_TUNABLES": ""}  # one process id from the start
    process = subprocess.Popen(
        [*PROGRAM, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["type"] == "metrics":
            break
    (other,) = psutil.Process(process.pid).children()
    other.kill()
    process.communicate(timeout=120)
    assert process.returncode == 74
