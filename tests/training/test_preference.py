"""Preference training: its loss against plain transformers, its reference, its files; whole jobs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from luthier.data.examples.preferences import read_preferences
from luthier.data.rendering.renderer import Renderer
from luthier.types.errors import LuthierError
from training.jobs import losses, train, write_job

PAIRS = [
    {
        "input": {"messages": [{"role": "user", "content": f"number {index}"}]},
        "preferred_output": [{"role": "assistant", "content": "odd" if index % 2 else "even"}],
        "non_preferred_output": [{"role": "assistant", "content": "well, who knows"}],
    }
    for index in range(12)
]


def _job(folder: Path, base: Path, **overrides):
    return write_job(folder, base, PAIRS, method="dpo", **overrides)


def _log_probability(reference, renderer: Renderer, example) -> float:
    rendered = renderer.example(example)
    with torch.no_grad():
        distribution = reference(torch.tensor([rendered.ids])).logits[0, :-1].log_softmax(-1)
    logprobs = distribution.gather(-1, torch.tensor(rendered.ids[1:])[:, None])[:, 0]
    return float((logprobs * torch.tensor(rendered.weights[1:])).sum())


def test_a_job_prefers_what_it_is_shown(tmp_path: Path, tiny_base: Path) -> None:
    folder = _job(tmp_path / "job", tiny_base, valid=2, n_epochs=5, learning_rate_multiplier=10)
    events = train(folder)
    assert events[0]["hyperparameters"]["beta"] == 0.1
    assert losses(events)[0] == pytest.approx(np.log(2), rel=1e-5)  # nothing has been gained yet
    checkpoints = [event for event in events if event["type"] == "checkpoint"]
    assert checkpoints[-1]["metrics"]["full_valid_loss"] < 0.5 * np.log(2)


def test_the_reference_is_the_model_before_training(tmp_path: Path, tiny_base: Path) -> None:
    """By plain transformers; for a job that continues from an adapter, with that adapter."""
    folder = _job(tmp_path / "first", tiny_base, learning_rate_multiplier=10)
    train(folder)
    renderer = Renderer(tiny_base)
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    reference = np.load(folder / "train.reference.npy")
    for row, pair in zip(reference, read_preferences(folder / "train.jsonl"), strict=True):
        expected = [_log_probability(plain, renderer, side) for side in (pair.preferred, pair.non_preferred)]
        assert row == pytest.approx(expected, rel=1e-4)
    again = _job(tmp_path / "again", tiny_base, parent=str(folder / "checkpoints" / "step-6"))
    assert losses(train(again))[0] == pytest.approx(np.log(2), rel=1e-5)
    assert not np.allclose(np.load(again / "train.reference.npy"), reference, rtol=1e-2)


def test_a_resumed_job_is_an_uninterrupted_one(tmp_path: Path, tiny_base: Path) -> None:
    whole = train(_job(tmp_path / "whole", tiny_base, n_epochs=3))
    folder = _job(tmp_path / "cut", tiny_base, n_epochs=3)
    both = losses(train(folder, stop_after=4)) + losses(train(folder))
    assert both == losses(whole)
    last = "checkpoints/step-9/adapter_model.safetensors"
    uninterrupted, resumed = (load_file(tmp_path / name / last) for name in ("whole", "cut"))
    assert all(torch.equal(uninterrupted[name], resumed[name]) for name in uninterrupted)


def test_answers_of_the_input_are_not_learnt(tmp_path: Path, tiny_base: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    pair = {
        "input": {"messages": turns},
        "preferred_completion": [{"role": "assistant", "content": "yes"}],
        "non_preferred_completion": [{"role": "assistant", "content": "no"}],
    }
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(pair) + "\n")
    renderer = Renderer(tiny_base)
    for pair in read_preferences(path):
        for side, answer in ((pair.preferred, "yes"), (pair.non_preferred, "no")):
            rendered = renderer.example(side)
            trained = [token for token, weight in zip(rendered.ids, rendered.weights, strict=True) if weight]
            assert renderer.decode(trained) == f"{answer}<|im_end|>"
    path.write_text('{"input": {"messages": []}, "preferred_output": "yes"}\n')
    with pytest.raises(LuthierError, match="1"):
        list(read_preferences(path))
