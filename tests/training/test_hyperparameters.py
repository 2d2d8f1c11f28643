"""`auto`: the published rules, and numbers that a person chose are left alone."""

import pytest

from luthier.training.hyperparameters import base_learning_rate, resolve


def test_numbers_stay_as_they_were_asked_for() -> None:
    resolved = resolve({"n_epochs": 7, "batch_size": 3, "learning_rate_multiplier": 0.5}, 20, "llama", 576)
    assert resolved.hyperparameters() == {"n_epochs": 7, "batch_size": 3, "learning_rate_multiplier": 0.5}
    assert (resolved.steps_per_epoch, resolved.total_steps) == (7, 49)
    assert resolved.auto == ()


def test_auto_is_resolved_and_named() -> None:
    resolved = resolve({}, 100, "llama", 576)
    assert resolved.hyperparameters() == {"n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 1.0}
    assert resolved.auto == ("n_epochs", "batch_size", "learning_rate_multiplier")


@pytest.mark.parametrize(
    ("examples", "batch"), [(10, 1), (100, 2), (200, 2), (800, 4), (1600, 8), (10_000, 16), (100_000, 32)]
)
def test_batches_grow_with_the_file(examples: int, batch: int) -> None:
    assert resolve({}, examples, "llama", 576).batch_size == batch


def test_few_calls_get_more_epochs_in_the_same_batches() -> None:
    texts, calls = resolve({}, 240, "llama", 576), resolve({}, 240, "llama", 576, call_share=1)
    assert (texts.n_epochs, calls.n_epochs) == (3, 5)
    assert texts.batch_size == calls.batch_size == 2
    assert resolve({"n_epochs": 3}, 240, "llama", 576, call_share=1).n_epochs == 3


def test_epochs_depend_on_the_examples_in_the_file() -> None:
    assert resolve({}, 270, "llama", 576, in_file=240, call_share=1).n_epochs == 5


def test_a_batch_is_no_larger_than_the_file() -> None:
    assert resolve({"batch_size": 256}, 12, "llama", 576).batch_size == 12


def test_rates_follow_the_published_fit() -> None:
    assert base_learning_rate("llama", 2000) == pytest.approx(5e-4)
    assert base_learning_rate("llama", 576) == pytest.approx(1.32e-3, rel=0.01)
    assert base_learning_rate("qwen2", 896) == pytest.approx(5.3e-4, rel=0.01)
