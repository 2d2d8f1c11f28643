"""Threads that compute shares of a step's examples train the same model as one row of all examples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from families import FAMILIES, make_base
from luthier.training import evaluation, trainer
from luthier.training import thread_shares as module
from luthier.training.batching import TrainingExample
from luthier.training.dataset import TokenSequence
from luthier.training.thread_shares import run_in_threads, thread_shares
from training.jobs import EXAMPLES, losses, train, write_job
from training.test_preference import PAIRS


def _example(index: int, tokens: int, shared: int = 0) -> TrainingExample:
    """Its first `shared` tokens are those of all others."""
    ids = np.concatenate([np.zeros(shared, dtype=np.int32), np.full(tokens - shared, index + 1, dtype=np.int32)])
    return TrainingExample(index, (TokenSequence(ids, np.ones(tokens, dtype=np.float32)),))


@pytest.mark.parametrize(
    ("lengths", "shared", "threads", "count"),
    [
        ([300] * 16, 0, 2, 2),
        ([300] * 16, 0, 1, 1),
        ([300] * 16, 0, 4, 4),
        ([300] * 8, 0, 4, 2),
        ([300] * 16, 0, 3, 3),
        ([300] * 12, 0, 8, 2),  # three do not divide the threads
        ([100] * 16, 0, 2, 1),  # too few tokens
        ([1600] * 16, 1500, 2, 1),  # a shared prefix would be computed twice
        ([6000, 1000, 1000], 0, 2, 1),  # one thread would wait for the other
        ([3000], 0, 2, 1),
        ([], 0, 2, 1),
    ],
)
def test_there_are_as_many_shares_as_make_a_step_faster(
    lengths: list[int], shared: int, threads: int, count: int
) -> None:
    examples = [_example(index, length, shared) for index, length in enumerate(lengths)]
    parts = thread_shares(examples, threads)
    assert len(parts) == count
    assert sorted(example.index for part in parts for example in part) == list(range(len(lengths)))


def test_a_task_has_its_part_of_the_threads_and_its_error_is_raised() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert run_in_threads([torch.get_num_threads] * 2) == [2, 2]
        assert run_in_threads([torch.get_num_threads]) == [4]
        with pytest.raises(ZeroDivisionError):
            run_in_threads([lambda: 1, lambda: 1 // 0])
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


@pytest.fixture(name="counts")
def _counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Shares may have a few tokens. How many there were each time."""
    counts: list[int] = []

    def counted(tasks: Any) -> Any:
        counts.append(len(tasks))
        return run_in_threads(tasks)

    monkeypatch.setattr(module, "_MIN_TOKENS", 8)
    monkeypatch.setattr(module, "_MAX_OVERHEAD", 2)
    for user in (trainer, evaluation):
        monkeypatch.setattr(user, "run_in_threads", counted)
    return counts


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_shares_take_the_steps_of_a_single_row(tmp_path: Path, tiny_base: Path, counts: list[int], method: str) -> None:
    overrides: dict[str, Any] = {"valid": 3, "examples": PAIRS if method == "dpo" else EXAMPLES, "method": method}
    single = train(write_job(tmp_path / "single", tiny_base, **overrides))
    assert set(counts) == {1}
    counts.clear()
    events = train(write_job(tmp_path / "shares", tiny_base, threads=2, **overrides))
    assert 2 in counts
    for name in ("train_loss", "full_valid_loss", "train_mean_token_accuracy"):
        expected, measured = (
            [event["metrics"][name] for event in run if name in event.get("metrics", {})] for run in (single, events)
        )
        assert measured == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["phi3 with LongRoPE", "gemma3 with a short window", "granite", "olmo2", "mixtral"])
def test_families_take_the_same_steps(tmp_path: Path, tiny_base: Path, counts: list[int], name: str) -> None:
    base = make_base(tmp_path, tiny_base, FAMILIES[name], spread=0.1)
    single, shared = (train(write_job(tmp_path / f"{count}", base, n_epochs=1, threads=count)) for count in (1, 2))
    assert (2 in counts) == (name != "mixtral")  # experts train through transformers
    assert losses(shared) == pytest.approx(losses(single), abs=1e-5)


def test_shares_resume_to_the_last_digit(
    tmp_path: Path, tiny_base: Path, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One example per micro-batch, so that each thread adds up several gradients.
    monkeypatch.setattr("luthier.training.token_budget.tokens_in_memory", lambda *_: 160)
    whole = train(write_job(tmp_path / "whole", tiny_base, threads=2, batch_size=6))
    folder = write_job(tmp_path / "job", tiny_base, threads=2, batch_size=6)
    resumed = train(folder, stop_after=1) + train(folder)
    assert 2 in counts
    assert losses(resumed) == losses(whole)


def test_all_weights_are_trained_in_one_row(tmp_path: Path, tiny_base: Path, counts: list[int]) -> None:
    train(write_job(tmp_path / "full", tiny_base, valid=3, threads=2, tuning="full"))
    assert set(counts) == {1}
