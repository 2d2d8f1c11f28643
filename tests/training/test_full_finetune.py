"""Full fine-tuning: every weight is trained, exactly, and comes out as a model folder that transformers reads."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from luthier.data.examples.example import read_examples
from luthier.data.rendering.renderer import Renderer
from luthier.training.compute_device import ComputeDevice
from luthier.training.hyperparameters import resolve
from luthier.training.job_spec import JobSpec
from luthier.training.logprobs import log_probabilities, pack
from luthier.training.model import load_model, trainable_parameters
from luthier.types.errors import JobError
from training.jobs import EXAMPLES, losses, train, write_job
from training.test_logprobs import CPU, _examples
from training.test_preference import PAIRS


def _job(folder: Path, base: Path, **overrides) -> Path:
    return write_job(folder, base, tuning="full", learning_rate_multiplier=10, **overrides)


def _plain_loss(model, folder: Path, base: Path) -> float:
    """Over the validation file, by transformers alone."""
    loss, count = 0.0, 0
    for example in read_examples(folder / "valid.jsonl"):
        rendered = Renderer(base).example(example)
        labels = [token if weight else -100 for token, weight in zip(rendered.ids, rendered.weights, strict=True)]
        targets = sum(label >= 0 for label in labels[1:])
        with torch.no_grad():
            loss += model(torch.tensor([rendered.ids]), labels=torch.tensor([labels])).loss.item() * targets
        count += targets
    return loss / count


def test_every_weight_changes_and_the_folder_is_a_model(tmp_path: Path, tiny_base: Path) -> None:
    folder = _job(tmp_path / "job", tiny_base, valid=2, n_epochs=4)
    events = train(folder)
    assert losses(events)[-1] < losses(events)[0] / 2
    (last,) = [event for event in events if event["type"] == "checkpoint"][-1:]
    model = folder / "checkpoints" / last["folder"]
    before, after = (load_file(path / "model.safetensors") for path in (tiny_base, model))
    assert before.keys() == after.keys()  # tied weights once
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    loss = _plain_loss(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), folder, model)
    assert loss == pytest.approx(last["metrics"]["full_valid_loss"], rel=1e-4)
    assert any(event["type"] == "trainable_parameters" and event["rank"] is None for event in events)


def test_gradients_are_those_of_plain_transformers(tiny_base: Path) -> None:
    """Of every weight, the tied output layer's included, though logits are never kept."""
    spec = JobSpec(base=str(tiny_base), base_name="tiny", seed=1, precision="float32", device="cpu", tuning="full")
    model = load_model(spec, ComputeDevice.select("cpu", "float32"))
    examples = _examples(12, 33, 20)
    batch = pack(examples, CPU)
    logprobs, likeliest = log_probabilities(model, batch)
    (-(logprobs * batch.weights).sum()).backward()
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    for example in examples:
        logits = plain(torch.tensor([example.ids])).logits[0, :-1]
        chosen = logits.log_softmax(-1).gather(-1, torch.tensor(example.ids[1:])[:, None])[:, 0]
        (-(chosen * torch.tensor(example.weights[1:])).sum()).backward()
    expected = dict(plain.named_parameters())
    assert trainable_parameters(model).keys() == expected.keys()
    for name, parameter in trainable_parameters(model).items():
        assert (parameter.grad - expected[name].grad).norm() <= 1e-5 * expected[name].grad.norm(), name
    with torch.no_grad():
        measured = log_probabilities(model, batch)
    assert torch.allclose(measured[0], logprobs, rtol=1e-5)
    assert torch.equal(measured[1], likeliest)


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_a_resumed_job_is_an_uninterrupted_one(tmp_path: Path, tiny_base: Path, method: str) -> None:
    overrides = {"method": method, "examples": PAIRS if method == "dpo" else EXAMPLES}
    whole = train(_job(tmp_path / "whole", tiny_base, **overrides))
    folder = _job(tmp_path / "cut", tiny_base, **overrides)
    assert losses(train(folder, stop_after=4)) + losses(train(folder)) == losses(whole)
    uninterrupted, resumed = (
        load_file(tmp_path / name / "checkpoints" / "step-6" / "model.safetensors") for name in ("whole", "cut")
    )
    assert all(torch.equal(uninterrupted[name], resumed[name]) for name in uninterrupted)


def test_it_goes_on_from_an_adapter(tmp_path: Path, tiny_base: Path) -> None:
    """The adapter becomes part of the weights: the first loss is what the adapter had reached."""
    first = write_job(tmp_path / "first", tiny_base, n_epochs=6, batch_size=12, learning_rate_multiplier=2)
    train(first)
    parent = str(first / "checkpoints" / "step-6")
    on_adapter, whole = (
        train(write_job(tmp_path / tuning, tiny_base, parent=parent, batch_size=12, n_epochs=1, tuning=tuning))
        for tuning in ("lora", "full")
    )
    assert losses(whole)[0] == pytest.approx(losses(on_adapter)[0], rel=1e-5)


def test_too_little_memory_is_said_before_weights_are_read(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.training.token_budget.free_bytes", lambda _: 1 << 18)
    with pytest.raises(JobError, match=r"weights takes about .* GB of memory, and 0.0 GB are free") as caught:
        train(_job(tmp_path / "job", tiny_base))
    assert caught.value.code == "insufficient_memory"


def test_its_rate_is_a_tenth_of_an_adapters() -> None:
    """SmolLM2-135M: 1.3e-3 and 1.3e-4, as the published fit has it."""
    adapter, whole = (resolve({}, 100, "llama", 576, tuning=tuning).learning_rate for tuning in ("lora", "full"))
    assert adapter == pytest.approx(1.3e-3, rel=0.05)
    assert whole == pytest.approx(adapter / 10)
